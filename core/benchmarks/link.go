package main

import (
	"context"
	"net"
	"slices"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// link is one peer's way to the server. All peers have the same client with the
// same settings, which are its defaults but for those that streamlimit asks for.
type link struct {
	addr   string
	rdb    *redis.Client
	wire   wire
	closes []func()
}

func newLink(addr string) *link {
	l := &link{addr: addr}
	l.rdb = redis.NewClient(&redis.Options{
		Addr:                     addr,
		Dialer:                   l.dial,
		ContextTimeoutEnabled:    true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	l.onClose(func() { _ = l.rdb.Close() })
	return l
}

func (l *link) onClose(f func()) { l.closes = append(l.closes, f) }

func (l *link) close() {
	for _, f := range slices.Backward(l.closes) {
		f()
	}
}

func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &counted{TCPConn: c.(*net.TCPConn), wire: &l.wire}, nil
}

// wire is what has passed between a client and the server.
type wire struct{ sent, received, trips atomic.Int64 }

// counted is a connection that counts. A round trip is a write and the reads up
// to the next one. It remains a TCP connection, whose state the client looks at.
type counted struct {
	*net.TCPConn
	wire  *wire
	asked atomic.Bool
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.wire.sent.Add(int64(n))
	c.asked.Store(true)
	return n, err
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 {
		c.wire.received.Add(int64(n))
		if c.asked.Swap(false) {
			c.wire.trips.Add(1)
		}
	}
	return n, err
}
