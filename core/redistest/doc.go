// Package redistest starts real Redis servers for tests: a single one, with TLS
// or without, a cluster, or a primary with a replica and sentinels. A [Proxy] is
// the network before them, with its faults.
//
// The package may change in any release.
//
//	func TestStore(t *testing.T) {
//		server := redistest.Start(t)
//		store := redisstream.New(server.Client())
//		...
//	}
//
// Each server is a process of its own on a free port of 127.0.0.1, works in a
// directory of its own, persists nothing unless asked to, and is killed when
// the test ends. Servers are real because what is tested (scripts, trimming,
// memory, time) is the server's behavior, which a fake would only repeat as
// its author understood it.
//
// The program is the one named by the environment variable REDIS_SERVER, else
// redis-server or valkey-server from the PATH. Without any the test fails: a
// test that is skipped where Redis is missing passes without having run.
package redistest
