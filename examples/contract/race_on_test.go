//go:build race

package contract

// buildFlags: servers are checked for races when the tests are.
var buildFlags = []string{"-race"}
