// Package redistest starts real Redis servers for tests: a single server, with or without
// TLS, a cluster, or a primary with a replica and sentinels. A [Proxy] simulates the
// network before them, with its faults.
//
// The package may change in any release.
//
//	func TestStore(t *testing.T) {
//		server := redistest.Start(t)
//		store := redisstream.New(server.Client())
//		...
//	}
//
// Each server is a process on a free port of 127.0.0.1, with a directory of its own. It
// persists nothing by default, and is killed when the test ends. Servers are real because
// the tests are about the server's behavior: scripts, trimming, memory and time. A fake
// would only repeat its author's idea of that behavior.
//
// The environment variable REDIS_SERVER names the program. The default is redis-server or
// valkey-server from the PATH. Without a program the test fails: a test that is skipped
// without Redis passes without having run.
package redistest
