package redisstream

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
)

// DefaultTimeout is how long a decision may take unless [WithTimeout] says
// otherwise.
const DefaultTimeout = 100 * time.Millisecond

// DefaultPrefix starts every key unless [WithPrefix] says otherwise.
const DefaultPrefix = "streamlimit:"

// Store is a [core.Store] that keeps the logs in Redis Streams. Make one with
// [New] or [Open].
type Store struct {
	rdb     redis.UniversalClient
	owned   bool // Close closes rdb
	prefix  string
	timeout time.Duration
	logger  *slog.Logger
	closed  atomic.Bool

	keepsDeadlines bool          // of contexts, by the client itself
	pending        chan struct{} // holds a value for each command that runs aside

	answered atomic.Bool // a server has answered
	denials  *denials
	lanes    lanes // of decisions that travel together

	check         check                  // of the servers, at the first decision
	unreadVersion atomic.Pointer[string] // of the rules, one of which could not be read
}

// Option is a setting for [New] and [Open].
type Option func(*Store)

// WithPrefix sets what every key starts with. Stores with different prefixes
// share nothing. It must not contain braces, which mark the hash tag.
func WithPrefix(prefix string) Option {
	if strings.ContainsAny(prefix, "{}") {
		panic(fmt.Sprintf("redisstream: WithPrefix: %q contains a brace: use one such as %q", prefix, DefaultPrefix))
	}
	return func(s *Store) { s.prefix = prefix }
}

// WithTimeout sets how long a decision may take, at least 1 ms. The caller has
// its answer or an error by then, whatever the client's own settings.
func WithTimeout(d time.Duration) Option {
	if d < time.Millisecond {
		panic(fmt.Sprintf("redisstream: WithTimeout: %v: use at least 1ms, usually %v", d, DefaultTimeout))
	}
	return func(s *Store) { s.timeout = d }
}

// WithLogger sets where the store writes its few log lines; slog.Default()
// unless set.
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("redisstream: WithLogger: nil logger: leave the option out for slog.Default()")
	}
	return func(s *Store) { s.logger = logger }
}

// New makes a store on a client that the caller owns and closes: for a single
// server, Sentinel, Cluster or Ring. It does not connect. Decisions go to
// primaries only; don't give it a client that reads from replicas. One made
// with ContextTimeoutEnabled answers a lone caller sooner.
//
// It panics when the client is nil.
func New(rdb redis.UniversalClient, options ...Option) *Store {
	if v := reflect.ValueOf(rdb); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("redisstream: New: nil client: make one with redis.NewUniversalClient, or use redisstream.Open")
	}
	s := &Store{
		rdb: rdb, prefix: DefaultPrefix, timeout: DefaultTimeout, logger: slog.Default(),
		keepsDeadlines: keepsDeadlines(rdb), pending: make(chan struct{}, maxPending),
		denials: newDenials(),
	}
	_, s.lanes.shared = rdb.(*redis.Client)
	for _, o := range options {
		if o == nil {
			panic("redisstream: New: a nil option: leave it out")
		}
		o(s)
	}
	return s
}

// Take implements [core.Store]. A denial is remembered for a moment, and requests
// that come at once share round trips.
func (s *Store) Take(ctx context.Context, p *core.Policy, key string, cost int64) (core.Usage, error) {
	if !memorable(p) {
		return s.takeShared(ctx, p, key, cost)
	}
	if u, ok := s.denials.recall(p, key); ok && ctx.Err() == nil && !s.closed.Load() {
		return u, nil
	}
	sent := s.denials.sending(key)
	u, err := s.takeShared(ctx, p, key, cost)
	if err == nil && !u.Allowed {
		s.denials.remember(p, key, u, sent)
	}
	return u, err
}

// Peek implements [core.Store].
func (s *Store) Peek(ctx context.Context, p *core.Policy, key string, cost int64) (core.Usage, error) {
	return s.decide(ctx, p, s.logKey(p, key), cost, false)
}

// decide asks for one log alone.
func (s *Store) decide(ctx context.Context, p *core.Policy, log string, cost int64, take bool) (core.Usage, error) {
	reply, err := s.run(ctx, scriptOf(p), decision(p, log, cost, take))
	if err != nil {
		return core.Usage{}, fmt.Errorf("redisstream: %w", err)
	}
	u, err := parseUsage(reply, p)
	if err != nil {
		return core.Usage{}, fmt.Errorf("redisstream: %w", err)
	}
	return u, nil
}

// decision is the call of the script of the policy's layout, as the head of each
// script describes it.
func decision(p *core.Policy, log string, cost int64, take bool) []any {
	mode := 0
	if take {
		mode = 1
	}
	call := append(scriptOf(p).call(4+2*p.Len(), log), mode)
	return appendArgs(call, p, cost)
}

// appendAsk appends the arguments for one of several logs, as many.lua and
// together.lua describe them.
func appendAsk(call []any, p *core.Policy, cost int64) []any {
	call = append(call, string(p.Layout()), 0)
	head := len(call)
	call = appendArgs(call, p, cost)
	call[head-1] = len(call) - head
	return call
}

// appendArgs appends the arguments of the layout's script but the first. For a
// counted log cost is how many requests are asked for at once.
func appendArgs(args []any, p *core.Policy, cost int64) []any {
	switch p.Layout() {
	case core.Counted:
		args = append(args, cost)
	case core.Refunded:
		args = append(args, cost, p.Longest().Milliseconds(), start())
	default:
		args = append(args, cost, p.Longest().Milliseconds(), p.Slice().Milliseconds())
	}
	for i := range p.Len() {
		l := p.Limit(i)
		args = append(args, l.Max, l.Window.Milliseconds())
	}
	return args
}

// start is the total at which a new log with refunds starts: see refunded.lua.
func start() int64 { return rand.Int64N(1 << 48) }

// Place implements [core.Placer]: it is the address of the server that has the
// log, in a Cluster or Ring.
func (s *Store) Place(p *core.Policy, key string) string {
	var server *redis.Client
	var err error
	switch rdb := s.rdb.(type) {
	case *redis.ClusterClient:
		if !s.answered.Load() {
			return "" // the client would ask the servers who has what
		}
		server, err = rdb.MasterForKey(context.Background(), s.logKey(p, key))
	case *redis.Ring:
		server, err = rdb.GetShardClientForKey(s.logKey(p, key))
	default:
		return ""
	}
	if err != nil {
		return ""
	}
	return server.Options().Addr
}

// Reset implements [core.Store].
func (s *Store) Reset(ctx context.Context, p *core.Policy, key string) error {
	// Forgetting twice is as good as once, so this may be retried.
	err := s.plain(ctx, redis.NewIntCmd(ctx, "unlink", s.logKey(p, key)))
	s.denials.forget(p, key)
	return err
}

// Ping implements [core.Store].
func (s *Store) Ping(ctx context.Context) error {
	return s.plain(ctx, redis.NewStatusCmd(ctx, "ping"))
}

// plain sends a command that is no script.
func (s *Store) plain(caller context.Context, cmd redis.Cmder) error {
	ctx, cancel := context.WithTimeout(caller, s.timeout)
	defer cancel()
	err := s.do(caller, ctx, cmd)
	if answered(err) {
		s.answered.Store(true)
	}
	if err != nil {
		if !errors.Is(err, redis.Nil) {
			_, err = stateOf(err)
		}
		return fmt.Errorf("redisstream: %w", err)
	}
	return nil
}

// Close implements [core.Store]. It closes the client if [Open] made it. What
// waits for a server that does not answer ends by its timeout, and not before.
func (s *Store) Close() error {
	s.endCheck()
	if s.closed.Swap(true) || !s.owned {
		return nil
	}
	if err := s.rdb.Close(); err != nil {
		return fmt.Errorf("redisstream: %w", err)
	}
	return nil
}

// logKey is the key of a log: the prefix, the key's digest as hash tag, and
// the name of the policy's logs. All logs of one key are in one hash slot, and
// no key from outside is in one as it is.
func (s *Store) logKey(p *core.Policy, key string) string {
	sum := sha256.Sum256([]byte(key))
	const digest = 16 // 128 bits
	b := make([]byte, 0, 96)
	b = append(b, s.prefix...)
	b = append(b, '{')
	b = base64.RawURLEncoding.AppendEncode(b, sum[:digest])
	b = append(b, "}:"...)
	b = append(b, p.LogName()...)
	return string(b)
}
