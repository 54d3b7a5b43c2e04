//go:build race

package program

// buildFlags: programs are checked for races when the tests are.
var buildFlags = []string{"-race"}
