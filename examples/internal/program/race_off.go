//go:build !race

package program

// BuildFlags are the flags of the tests.
var BuildFlags []string
