package core

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"net/textproto"
	"reflect"
	"strings"
)

// Limiter decides on requests by the logs in its [Store]. Make one with [New];
// it is safe for concurrent use, and one serves a whole process.
type Limiter struct {
	store    Store
	identity *Identity
}

// Option is a setting for [New].
type Option func(*Limiter)

// WithTrustedProxies names the proxies whose forwarded header is believed when
// they are the peer; see [Identity.Address]. Name exactly the networks your
// proxies are in: whoever can connect from them can claim any address.
// [ParsePrefixes] reads them from a setting.
func WithTrustedProxies(proxies ...netip.Prefix) Option {
	return func(l *Limiter) {
		for _, p := range proxies {
			if !p.IsValid() {
				panic(`core: WithTrustedProxies: an invalid prefix: write netip.MustParsePrefix("10.0.0.0/8")`)
			}
			l.identity.proxies = append(l.identity.proxies, plainPrefix(p))
		}
	}
}

// WithForwardedHeader sets the field in which trusted proxies write the
// chain; it is X-Forwarded-For unless set. Only this one is read, since a proxy
// passes on from its clients those that it does not write. "Forwarded" is read
// as RFC 7239, any other as a list of addresses.
func WithForwardedHeader(name string) Option {
	if name == "" || strings.ContainsAny(name, " :\r\n") {
		panic(fmt.Sprintf(`core: WithForwardedHeader: %q is no field name: write one such as "X-Real-IP"`, name))
	}
	return func(l *Limiter) { l.identity.header = textproto.CanonicalMIMEHeaderKey(name) }
}

// WithIPv6Prefix sets how many leading bits of an IPv6 address make a client,
// from 1 to 128; it is 64 unless set.
func WithIPv6Prefix(bits int) Option {
	if bits < 1 || bits > 128 {
		panic(fmt.Sprintf("core: WithIPv6Prefix: %d bits: use 1 to 128, usually 64, 56 or 48", bits))
	}
	return func(l *Limiter) { l.identity.bits = bits }
}

// WithKeySecret makes digests of credentials with HMAC-SHA-256 under secret,
// so that nobody who reads Redis can test guesses. All processes that share
// logs need the same secret. An empty secret is the same as none: plain
// SHA-256, which is enough for long random API keys.
func WithKeySecret(secret []byte) Option {
	return func(l *Limiter) { l.identity.setSecret(secret) }
}

// WithLogger sets where the limiter writes its few log lines; slog.Default()
// unless set.
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("core: WithLogger: nil logger: leave the option out for slog.Default()")
	}
	return func(l *Limiter) { l.identity.logger = logger }
}

// WithTrustedUnixSocket counts a peer without an address as a trusted proxy: a
// server that listens on a Unix socket for a proxy on the same machine. Such
// peers are refused without it, with [ErrNoKey].
func WithTrustedUnixSocket() Option {
	return func(l *Limiter) { l.identity.trustUnix = true }
}

// New makes a limiter that keeps its logs in store:
//
//	limiter := core.New(core.NewMemory())
//
// It panics when the store is nil.
func New(store Store, options ...Option) *Limiter {
	if v := reflect.ValueOf(store); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("core: New: nil store: use core.NewMemory(), or redisstream.New for Redis")
	}
	l := &Limiter{
		store:    store,
		identity: &Identity{header: "X-Forwarded-For", bits: 64, logger: slog.Default()},
	}
	for _, o := range options {
		if o == nil {
			panic("core: New: a nil option: leave it out")
		}
		o(l)
	}
	return l
}

// Identity finds out who a request comes from, as the limiter's options say.
func (l *Limiter) Identity() *Identity { return l.identity }

// Allow decides on one request of cost 1, and counts it if it is admitted.
// A denial is a [Decision], not an error: an error means that there is no
// decision, because of wrong arguments ([ErrNoKey], [ErrNoPolicy]) or because
// the store did not answer.
func (l *Limiter) Allow(ctx context.Context, p *Policy, key string) (Decision, error) {
	return l.AllowN(ctx, p, key, 1)
}

// AllowN decides on one request that takes cost units, all or none. Policies
// need [VariableCost] for a cost other than 1. A cost that can never be
// admitted is an [ErrCost].
func (l *Limiter) AllowN(ctx context.Context, p *Policy, key string, cost int64) (Decision, error) {
	return l.ask(ctx, p, key, cost, true)
}

// Peek is the decision that Allow would make, and counts nothing. Its
// Remaining is what is left now, and Allowed says whether a request of cost 1
// would be admitted.
func (l *Limiter) Peek(ctx context.Context, p *Policy, key string) (Decision, error) {
	return l.ask(ctx, p, key, 1, false)
}

func (l *Limiter) ask(ctx context.Context, p *Policy, key string, cost int64, take bool) (Decision, error) {
	if p == nil || len(p.limits) == 0 {
		return Decision{}, ErrNoPolicy
	}
	if key == "" {
		return Decision{}, fmt.Errorf("%w: policy %s", ErrNoKey, p.name)
	}
	if err := costError(p, cost); err != nil {
		return Decision{}, err
	}
	key = boundedKey(key)
	var u Usage
	var err error
	if take {
		u, err = l.store.Take(ctx, p, key, cost)
	} else {
		u, err = l.store.Peek(ctx, p, key, cost)
	}
	if err != nil {
		return Decision{}, fmt.Errorf("streamlimit: policy %s: %w", p.name, err)
	}
	return decide(p, key, cost, u), nil
}

// Reset forgets what was counted for key under p: all its units are back.
func (l *Limiter) Reset(ctx context.Context, p *Policy, key string) error {
	if p == nil || len(p.limits) == 0 {
		return ErrNoPolicy
	}
	if key == "" {
		return fmt.Errorf("%w: policy %s", ErrNoKey, p.name)
	}
	if err := l.store.Reset(ctx, p, boundedKey(key)); err != nil {
		return fmt.Errorf("streamlimit: policy %s: %w", p.name, err)
	}
	return nil
}

// Ping is nil when the store answers.
func (l *Limiter) Ping(ctx context.Context) error { return l.store.Ping(ctx) }

// Close closes the store.
func (l *Limiter) Close() error { return l.store.Close() }

// maxKeyLength is the longest key, in bytes, that is kept as it is. Longer ones
// are replaced by a digest, so that no request decides how much memory its
// key takes.
const maxKeyLength = 128

// hashedPrefix marks digests of long keys. Short keys that start with it are
// replaced too, so that no key can pass for the digest of another.
const hashedPrefix = "sha256="

func boundedKey(key string) string {
	if len(key) <= maxKeyLength && !strings.HasPrefix(key, hashedPrefix) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hashedPrefix + hex.EncodeToString(sum[:digestBytes])
}
