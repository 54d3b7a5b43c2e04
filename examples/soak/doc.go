// Package soak has only a test. It runs the example servers under mixed load for a given
// time, on one Redis with all kinds of faults.
//
//	make soak              # 10 minutes
//	make soak SOAK=2m
//
// Nothing may grow, race, panic or fail. Clients get no 5xx, whatever Redis does, and the
// servers end without error, whatever clients do.
package soak
