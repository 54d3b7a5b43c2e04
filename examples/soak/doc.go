// Package soak holds no code but a test: the example servers under mixed
// load for as long as it is told, on one Redis that suffers all kinds of faults.
//
//	make soak              # 10 minutes
//	make soak SOAK=2m
//
// Nothing may grow, race, panic or fail: whatever Redis does, clients get no
// 5xx, and whatever clients do, the servers end well.
package soak
