//go:build !race

package redisstream

// pace is how much slower tests run without the race detector: not at all.
const pace = 1
