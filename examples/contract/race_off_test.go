//go:build !race

package contract

var buildFlags []string
