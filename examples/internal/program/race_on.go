//go:build race

package program

// BuildFlags are those that the tests were built with: programs are checked for
// races when the tests are.
var BuildFlags = []string{"-race"}
