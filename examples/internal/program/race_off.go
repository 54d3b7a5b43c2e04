//go:build !race

package program

// BuildFlags are those that the tests were built with.
var BuildFlags []string
