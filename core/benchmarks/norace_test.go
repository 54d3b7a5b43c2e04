//go:build !race

package main

// spare is how many allocations more a request may take.
const spare = 1
