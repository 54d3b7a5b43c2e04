// Package contract holds no code but tests: what the example servers
// promise, run against all of them as processes, on both stores.
package contract
