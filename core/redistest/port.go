package redistest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// The ports are below those that systems assign to outgoing connections (from 32768 on
// Linux, 49152 elsewhere). Otherwise a client of a killed server could get the server's
// port, and Restart would fail.
const (
	firstPort = 18000
	lastPort  = 32000
)

// freePort returns a port without a listener. Another process may take it before the
// caller does.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		_ = l.Close()
		return port
	}
	t.Fatalf("redistest: no free port among 100 between %d and %d", firstPort, lastPort)
	return 0
}
