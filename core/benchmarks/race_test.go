//go:build race

package main

// spare is how many allocations more a request may take: under the race detector
// pools lose a part of what they get.
const spare = 3
