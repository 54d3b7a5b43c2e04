package redistest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// The ports to choose from lie below those that systems hand out to outgoing
// connections (from 32768 on Linux, 49152 elsewhere). A client of a killed
// server could otherwise be given the server's port, and Restart would fail.
const (
	firstPort = 18000
	lastPort  = 32000
)

// freePort is a port that nothing listens on. It may be taken by the time it
// is used.
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
