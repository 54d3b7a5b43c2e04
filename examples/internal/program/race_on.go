//go:build race

package program

// BuildFlags are the flags of the tests: programs are checked for races if the tests are.
var BuildFlags = []string{"-race"}
