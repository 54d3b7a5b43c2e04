//go:build race

package redisstream

// pace is how much slower tests run with the race detector.
const pace = 10
