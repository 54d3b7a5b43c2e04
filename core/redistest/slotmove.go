package redistest

import (
	"context"
	"net"
	"testing"
)

// SlotMove moves a hash slot with its keys from one primary to another, while clients may
// use it. Use Begin, Migrate and End, or Run for the whole move.
type SlotMove struct {
	Slot     int
	From, To *Server

	t       testing.TB
	cluster *ClusterServer
}

// Move prepares the move of a key's slot from its primary to the next of
// [ClusterServer.Nodes]. It moves nothing yet.
func (c *ClusterServer) Move(key string) *SlotMove {
	c.t.Helper()
	slot := c.Slot(key)
	m := &SlotMove{Slot: slot, From: c.Owner(slot), t: c.t, cluster: c}
	for i, node := range c.Nodes {
		if node == m.From {
			m.To = c.Nodes[(i+1)%len(c.Nodes)]
		}
	}
	if m.To == m.From || m.To == nil {
		c.t.Fatalf("redistest: no other primary for slot %d", slot)
	}
	return m
}

// Run moves the slot with its keys, a few at a time.
func (m *SlotMove) Run() {
	m.t.Helper()
	m.Begin()
	m.MigrateAll()
	m.End()
}

// Begin makes the old primary redirect clients to the new one (ASK) for keys that it does
// not have.
func (m *SlotMove) Begin() {
	m.t.Helper()
	m.do(m.To, "CLUSTER", "SETSLOT", m.Slot, "IMPORTING", m.id(m.From))
	m.do(m.From, "CLUSTER", "SETSLOT", m.Slot, "MIGRATING", m.id(m.To))
}

// Migrate moves keys of the slot.
func (m *SlotMove) Migrate(keys ...string) {
	m.t.Helper()
	host, port, err := net.SplitHostPort(m.To.Addr)
	must(m.t, err)
	args := []any{"MIGRATE", host, port, "", 0, startTimeout.Milliseconds(), "KEYS"}
	for _, key := range keys {
		args = append(args, key)
	}
	m.do(m.From, args...)
}

// MigrateAll moves all keys of the slot, a few at a time.
func (m *SlotMove) MigrateAll() {
	m.t.Helper()
	for {
		keys, err := m.From.Client().ClusterGetKeysInSlot(context.Background(), m.Slot, 10).Result()
		must(m.t, err)
		if len(keys) == 0 {
			return
		}
		m.Migrate(keys...)
	}
}

// End gives the slot to the other primary, and returns when all nodes know.
func (m *SlotMove) End() {
	m.t.Helper()
	// The new primary is set first. Otherwise the slot would have no owner for a moment.
	m.do(m.To, "CLUSTER", "SETSLOT", m.Slot, "NODE", m.id(m.To))
	m.do(m.From, "CLUSTER", "SETSLOT", m.Slot, "NODE", m.id(m.To))
	m.cluster.awaitOwner("the move of a slot", m.Slot, func(owner *Server) bool { return owner == m.To })
}

func (m *SlotMove) id(node *Server) string { return node.nodeID(context.Background()) }

func (m *SlotMove) do(node *Server, args ...any) {
	m.t.Helper()
	if err := node.Client().Do(context.Background(), args...).Err(); err != nil {
		m.t.Fatalf("redistest: %v: %v", args, err)
	}
}
