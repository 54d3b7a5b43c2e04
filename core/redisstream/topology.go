package redisstream

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// topology knows which logs one script may use. It starts with what the client
// tells and asks the servers for the rest: a plain client may lead to a server in
// cluster mode, and a client in a wrapper hides what it is.
type topology struct {
	rdb    redis.UniversalClient
	prefix string // of every key

	// process sends a command to the server that has the key.
	process func(ctx context.Context, key string, cmd redis.Cmder) error

	// These tell which server has a key, where the client knows. They are nil otherwise.
	cluster interface {
		MasterForKey(ctx context.Context, key string) (*redis.Client, error)
	}
	ring interface {
		GetShardClientForKey(key string) (*redis.Client, error)
	}

	asking  chan struct{} // holds a value while the servers are asked
	asked   atomic.Bool   // and they have answered
	sharing atomic.Int32  // a sharing
	partial atomic.Bool   // see partly
}

// sharing says which logs one script may use.
type sharing = int32

const (
	ofTag    sharing = iota // those of one hash tag: in a Ring, and where nothing is known
	ofSlot                  // those of one hash slot: in cluster mode
	ofServer                // all: on a single server
)

// newTopology returns what the client knows of its servers. It sends nothing.
func newTopology(rdb redis.UniversalClient, prefix string) *topology {
	t := &topology{rdb: rdb, prefix: prefix, asking: make(chan struct{}, 1)}
	t.process = func(ctx context.Context, _ string, cmd redis.Cmder) error { return rdb.Process(ctx, cmd) }
	t.cluster, _ = rdb.(interface {
		MasterForKey(ctx context.Context, key string) (*redis.Client, error)
	})
	t.ring, _ = rdb.(interface {
		GetShardClientForKey(key string) (*redis.Client, error)
	})
	_, plain := rdb.(*redis.Client)
	switch {
	case t.cluster != nil:
		t.sharing.Store(ofSlot)
	case plain:
		t.sharing.Store(ofServer)
	}
	t.asked.Store(t.ring != nil) // which has no more to tell
	return t
}

// place returns a name that is equal for two logs that one script may use
// together. All logs of a single server are in the place "". It asks nobody and
// allocates nothing.
func (t *topology) place(log string) string {
	switch t.sharing.Load() {
	case ofServer:
		return ""
	case ofSlot:
		slot := hashSlot(tag(log))
		return slotNames[2*slot : 2*slot+2]
	}
	return tag(log)
}

// known reports whether the servers were asked, so that places merge no further.
func (t *topology) known() bool { return t.asked.Load() }

// partly reports whether the client reaches only a part of a Cluster's slots.
func (t *topology) partly() bool { return t.partial.Load() }

// crossSlot records that a server has answered CROSSSLOT: a place is a hash slot
// from now on. It reports whether that is news, so that smaller scripts can work.
func (t *topology) crossSlot() bool { return t.sharing.CompareAndSwap(ofServer, ofSlot) }

// client returns the client of the server that has the log, or nil where it is not
// known: in a wrapper, and in a Cluster until the servers were asked.
func (t *topology) client(log string) *redis.Client {
	var server *redis.Client
	var err error
	switch {
	case t.cluster != nil && t.known(): // else the client would ask the servers
		server, err = t.cluster.MasterForKey(context.Background(), log)
	case t.ring != nil:
		server, err = t.ring.GetShardClientForKey(log)
	default:
		server, _ = t.rdb.(*redis.Client)
	}
	if err != nil {
		return nil
	}
	return server
}

// sharded reports whether logs may be on several servers.
func (t *topology) sharded() bool { return t.cluster != nil || t.ring != nil }

// address returns the address of the server that has the log. It is "" for a
// single server, in a wrapper that hides it, and until the servers were asked.
func (t *topology) address(log string) string {
	if !t.sharded() {
		return ""
	}
	server := t.client(log)
	if server == nil {
		return ""
	}
	return server.Options().Addr
}

// ask asks the servers, unless that has succeeded before. Places merge only where
// that is certain, whatever a proxy or an ACL hides. The error is for servers that
// do not answer by the end of ctx; ask may then be called again.
func (t *topology) ask(ctx context.Context) error {
	if t.known() {
		return nil
	}
	select {
	case t.asking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() { // since the client may not obey ctx
		err := t.askOnce(ctx)
		if err == nil {
			t.asked.Store(true)
		}
		<-t.asking
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *topology) askOnce(ctx context.Context) error {
	if t.known() {
		return nil
	}
	if t.cluster != nil {
		_, err := t.cluster.MasterForKey(ctx, t.probe(0)) // loads who has which slots
		return err
	}
	_, err := t.server(ctx, t.probe(0), t.probe(1))
	clustered := redis.HasErrorPrefix(err, "CROSSSLOT")
	_, plain := t.rdb.(*redis.Client)
	switch {
	case !answered(err):
		return err
	case clustered && (plain || t.oneEndpoint(ctx)):
		t.sharing.Store(ofSlot)
		return t.askSlots(ctx)
	case !clustered && !plain && t.oneEndpoint(ctx):
		return t.askServers(ctx)
	}
	return nil
}

// askSlots asks for keys all over the slots, to find out if some are elsewhere.
func (t *topology) askSlots(ctx context.Context) error {
	for i := range probes {
		_, err := t.server(ctx, t.probe(i))
		if redis.HasErrorPrefix(err, "MOVED") {
			t.partial.Store(true)
			return nil
		}
		if !answered(err) {
			return err
		}
	}
	return nil
}

// askServers merges all places if keys of different tags reach one server.
func (t *topology) askServers(ctx context.Context) error {
	only := ""
	for i := range probes {
		server, err := t.server(ctx, t.probe(i))
		if !answered(err) {
			return err
		}
		if err != nil || server == "" || only != "" && server != only {
			return nil // hidden, or several
		}
		only = server
	}
	t.sharing.CompareAndSwap(ofTag, ofServer)
	return nil
}

// server returns the run ID of the server that runs scripts on the keys.
func (t *topology) server(ctx context.Context, keys ...string) (string, error) {
	call := []any{"eval", runIDSource, len(keys)}
	for _, key := range keys {
		call = append(call, key)
	}
	cmd := redis.NewStringCmd(ctx, call...)
	if err := t.process(ctx, keys[0], cmd); err != nil {
		return "", err // the client may still use the command
	}
	return cmd.Val(), nil
}

// runIDSource writes nothing, so that a full server and a replica run it too. It
// has no #!lua line, so that one older than Redis 7 does.
const runIDSource = "return string.match(redis.call('info', 'server'), 'run_id:(%x+)')"

// oneEndpoint reports whether the client leads to one address, even in a wrapper.
// Only such a client watches no keys: those of a Cluster or Ring want one, to find
// the server by. Nothing is sent.
//
// Run IDs alone do not tell: a Ring sends all keys to the one server that is up.
func (t *topology) oneEndpoint(ctx context.Context) bool {
	called := false
	err := t.rdb.Watch(ctx, func(*redis.Tx) error {
		called = true
		return nil
	})
	return called && err == nil
}

// probes is how many keys of different tags are asked for. Each lies in another
// sixteenth of the slots, so that a Cluster with equal shards is found out.
const probes = 16

// probeTags have the slots 0x000 to 0x3ff, 0x400 to 0x7ff, and so on.
var probeTags = func() (tags [probes]string) {
	for i, missing := 0, probes; missing > 0; i++ {
		candidate := fmt.Sprint("probe", i)
		if at := &tags[hashSlot(candidate)/(slots/probes)]; *at == "" {
			*at, missing = candidate, missing-1
		}
	}
	return tags
}()

func (t *topology) probe(i int) string { return t.prefix + "{" + probeTags[i] + "}" }

// tag returns the hash tag of a key. Prefixes contain no braces.
func tag(key string) string {
	_, rest, _ := strings.Cut(key, "{")
	tag, _, _ := strings.Cut(rest, "}")
	return tag
}

// slots is how many hash slots a Cluster has.
const slots = 1 << 14

// hashSlot returns the hash slot of a tag: CRC-16/XMODEM modulo 16384, as in
// appendix A of the Redis Cluster specification.
func hashSlot(tag string) int {
	crc := uint16(0)
	for i := range len(tag) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^tag[i]]
	}
	return int(crc % slots)
}

var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			high := crc&0x8000 != 0
			crc <<= 1
			if high {
				crc ^= 0x1021
			}
		}
		table[i] = crc
	}
	return table
}()

// slotNames has two bytes for each slot: places without an allocation.
var slotNames = func() string {
	b := make([]byte, 0, 2*slots)
	for slot := range slots {
		b = append(b, byte(slot>>8), byte(slot))
	}
	return string(b)
}()
