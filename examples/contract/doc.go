// Package contract has only tests. They check the contract of the example servers,
// against all of them as processes, on both stores.
package contract
