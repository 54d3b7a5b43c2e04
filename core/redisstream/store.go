package redisstream

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/store"
)

// DefaultTimeout is the time that a server has to answer a decision. [WithTimeout]
// changes it.
const DefaultTimeout = 100 * time.Millisecond

// DefaultWaitBound is the time that a decision may wait in this process.
// [WithWaitBound] changes it.
const DefaultWaitBound = 250 * time.Millisecond

// DefaultPrefix is the prefix of every key. [WithPrefix] changes it.
const DefaultPrefix = "streamlimit:"

// Store is a [store.Store] that keeps the logs in Redis Streams. Make one with
// [New] or [Open].
//
// A decision goes through up to four layers. The cache answers with a denial that is
// still true. Leases serve requests from units that this process took ahead. The batcher
// lets decisions that come at once share round trips. The transport sends them through the
// client.
type Store struct {
	prefix string
	logger *slog.Logger
	owned  bool // Close closes the client

	cache     *cache
	leases    *leases
	batcher   batcher
	transport transport

	check check // of the servers, at the first answer
	clock ruleClock

	periods ruleClock // of the servers that decide on calendar limits
}

// Option is a setting for [New] and [Open].
type Option func(*Store)

// WithPrefix sets the prefix of every key. The default is [DefaultPrefix]. Stores with
// different prefixes share nothing. The prefix must not contain braces, which mark the
// hash tag.
func WithPrefix(prefix string) Option {
	if strings.ContainsAny(prefix, "{}") {
		panic(fmt.Sprintf("redisstream: WithPrefix: %q contains a brace: use one such as %q", prefix, DefaultPrefix))
	}
	return func(s *Store) { s.prefix = prefix }
}

// WithTimeout sets the time that a server has to answer a decision, at least
// 1 ms, from when the decision is written to a connection. The default is
// [DefaultTimeout]. The client's own settings do not matter unless they are
// shorter. A decision that is not answered by then is an error, and counts
// against the server.
func WithTimeout(d time.Duration) Option {
	if d < time.Millisecond {
		panic(fmt.Sprintf("redisstream: WithTimeout: %v: use at least 1ms, usually %v", d, DefaultTimeout))
	}
	return func(s *Store) { s.transport.timeout = d }
}

// WithWaitBound sets the time that a decision may wait in this process for its turn, at
// least 1 ms. The default is [DefaultWaitBound]. A decision that would wait longer is
// refused at once with [store.ErrOverloaded], which says nothing about the server. A
// caller waits at most for the wait bound and the timeout together. The first
// connection of a process can add a second.
func WithWaitBound(d time.Duration) Option {
	if d < time.Millisecond {
		panic(fmt.Sprintf("redisstream: WithWaitBound: %v: use at least 1ms, usually %v", d, DefaultWaitBound))
	}
	return func(s *Store) { s.batcher.bound = d }
}

// WithLogger sets the logger for the store's few log lines. The default is
// slog.Default().
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("redisstream: WithLogger: nil logger: leave the option out for slog.Default()")
	}
	return func(s *Store) { s.logger = logger }
}

// New returns a store that uses a client of a single server, Sentinel, Cluster or Ring.
// The caller owns the client and closes it. New does not connect. Decisions go to
// primaries only, so don't use a client that reads from replicas. A client made with
// ContextTimeoutEnabled answers a lone caller sooner.
//
// New panics if the client is nil.
func New(rdb redis.UniversalClient, options ...Option) *Store {
	if v := reflect.ValueOf(rdb); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("redisstream: New: nil client: make one with redis.NewUniversalClient, or use redisstream.Open")
	}
	s := &Store{prefix: DefaultPrefix, logger: slog.Default(), cache: newCache()}
	s.transport.rdb, s.transport.timeout = rdb, DefaultTimeout
	s.transport.keepsDeadlines = keepsDeadlines(rdb)
	s.transport.answered = s.beginCheck
	s.batcher.transport = &s.transport
	s.batcher.bound, s.batcher.first = DefaultWaitBound, firstConnection
	s.batcher.one.batcher = &s.batcher
	for _, o := range options {
		if o == nil {
			panic("redisstream: New: a nil option: leave it out")
		}
		o(s)
	}
	s.batcher.topology = newTopology(rdb, s.prefix)
	s.batcher.topology.process = s.batcher.command
	s.leases = newLeases(s)
	return s
}

// Take implements [store.Store]. A denial is cached for a moment, and requests
// that come at once share round trips.
func (s *Store) Take(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	switch {
	case hasLeases(p):
		u, _, err := s.takeLeased(ctx, p, key, cost, cost)
		return u, err
	case !cacheable(p):
		return s.take(ctx, p, key, cost)
	}
	if u, ok := s.cache.get(p, key); ok && ctx.Err() == nil && !s.transport.closed.Load() {
		return u, nil
	}
	sent := s.cache.sending(key)
	u, err := s.take(ctx, p, key, cost)
	if err == nil && !u.Allowed {
		s.cache.put(p, key, u, sent)
	}
	return u, err
}

// take is Take without the cache.
func (s *Store) take(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	var u store.Usage
	var err error
	if c := s.charge(p, key, cost); p.Layout == store.Calendar {
		u, err = s.takeInPeriod(ctx, c)
	} else {
		u, err = s.batcher.take(ctx, c)
	}
	if err != nil && moving(p, err) {
		return s.decideWhileMoving(ctx, p, key, cost, modeTake)
	}
	return u, err
}

// charge returns what the batcher is asked.
func (s *Store) charge(p *store.Log, key string, cost int64) charge {
	return charge{policy: p, key: key, log: s.logKey(p, key), cost: cost, clock: &s.periods}
}

// chargeOf returns a charge with the member of its slot, if it asks for a slot.
func (s *Store) chargeOf(a store.Charge) charge {
	c := s.charge(a.Log, a.Key, a.Cost)
	c.token = memberOf(a)
	return c
}

// Peek implements [store.Store].
func (s *Store) Peek(ctx context.Context, p *store.Log, key string, cost int64) (store.Usage, error) {
	c := s.charge(p, key, cost)
	var u store.Usage
	err := s.inPeriod(&c.at, func() (err error) {
		u, err = s.askUsage(ctx, c, appendDecision(nil, &c, modeLook))
		return err
	})
	if err != nil && moving(p, err) {
		return s.decideWhileMoving(ctx, p, key, cost, modeLook)
	}
	if err == nil && hasLeases(p) {
		addLeft(&u, p, s.leases.table.Left(leased{p, key}), cost)
	}
	return u, err
}

// askUsage runs the script that decides on the charge, with the given arguments, and
// reads its reply.
func (s *Store) askUsage(ctx context.Context, c charge, args []any) (store.Usage, error) {
	reply, err := s.batcher.ask(ctx, c, args)
	if err != nil {
		return store.Usage{}, err
	}
	u, err := parseUsage(reply, c.policy)
	if err != nil {
		return store.Usage{}, fmt.Errorf("redisstream: %w", err)
	}
	return u, nil
}

// Shard implements [store.Sharder]: it returns the address of the server that has
// the log, in a Cluster or Ring.
func (s *Store) Shard(p *store.Log, key string) string {
	if !s.batcher.topology.sharded() {
		return "" // without the log's key, which takes longer than a cached denial
	}
	return s.batcher.topology.address(s.logKey(p, key))
}

// Reset implements [store.Store].
func (s *Store) Reset(ctx context.Context, p *store.Log, key string) error {
	// Forgetting twice is as good as once, so this may be retried.
	log := s.logKey(p, key)
	err := s.plain(ctx, log, redis.NewIntCmd(ctx, "unlink", log))
	if p.Lease > 0 {
		s.leases.table.Reset(leased{p, key})
	}
	s.cache.forget(p, key)
	return err
}

// Ping implements [store.Store].
func (s *Store) Ping(ctx context.Context) error {
	return s.plain(ctx, s.prefix+rulesSuffix, redis.NewStatusCmd(ctx, "ping"))
}

// plain sends a command that is not a script, for a key of the store.
func (s *Store) plain(ctx context.Context, key string, cmd redis.Cmder) error {
	err := s.batcher.command(ctx, key, cmd)
	if err == nil {
		return nil
	}
	if err != redis.Nil { //nolint:errorlint // a wrapped one is how sentinels say that they know no such name
		_, err = stateOf(err)
	}
	return fmt.Errorf("redisstream: %w", err)
}

// Close implements [store.Store]. It returns the units of leases, which takes as long as a
// decision, and closes the client if [Open] made it. Requests in flight and attempts to
// connect end by their own timeouts.
func (s *Store) Close() error {
	s.endCheck()
	s.leases.close()
	if s.transport.closed.Swap(true) || !s.owned {
		return nil
	}
	if err := s.transport.rdb.Close(); err != nil {
		return fmt.Errorf("redisstream: %w", err)
	}
	return nil
}

// logKey is the key of a log: the prefix, the key's digest as hash tag, and
// the name of the policy's logs. All logs of one key are in one hash slot, and
// no key from outside is in one as it is.
func (s *Store) logKey(p *store.Log, key string) string {
	sum := sha256.Sum256([]byte(key))
	const digest = 16 // 128 bits
	b := make([]byte, 0, 96)
	b = append(b, s.prefix...)
	b = append(b, '{')
	b = base64.RawURLEncoding.AppendEncode(b, sum[:digest])
	b = append(b, "}:"...)
	b = append(b, p.Name...)
	return string(b)
}
