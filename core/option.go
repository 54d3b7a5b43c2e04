package core

import (
	"fmt"
	"log/slog"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"

	"github.com/streamlimit/streamlimit/core/internal/clientip"
)

// Option is a setting for [New].
type Option func(*Limiter)

// WithTrustedProxies names the proxies whose forwarded header is trusted when they are
// the peer: see "Who is counted" in the package documentation. Name exactly the networks your proxies are in:
// whoever can connect from them can claim any address. [ParsePrefixes] reads them from
// a setting.
func WithTrustedProxies(proxies ...netip.Prefix) Option {
	return func(l *Limiter) {
		for _, p := range proxies {
			if !p.IsValid() {
				panic(`core: WithTrustedProxies: an invalid prefix: write netip.MustParsePrefix("10.0.0.0/8")`)
			}
			l.identity.Trust.Proxies = append(l.identity.Trust.Proxies, clientip.PlainPrefix(p))
		}
	}
}

// ParsePrefixes reads a list of CIDRs such as "10.0.0.0/8, ::1" for
// [WithTrustedProxies]. Entries are separated by commas or spaces. An address without a
// prefix length stands for itself alone. An empty list returns no prefixes and no
// error.
func ParsePrefixes(list string) ([]netip.Prefix, error) {
	prefixes, err := clientip.ParsePrefixes(list)
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	return prefixes, nil
}

// WithForwardedHeader sets the field in which trusted proxies write the chain. The
// default is X-Forwarded-For. No other field is read, since a proxy forwards its
// clients' fields that it does not write itself. "Forwarded" is read as RFC 7239, any
// other as a list of addresses.
func WithForwardedHeader(name string) Option {
	if name == "" || strings.ContainsAny(name, " :\r\n") {
		panic(fmt.Sprintf(`core: WithForwardedHeader: %q is no field name: write one such as "X-Real-IP"`, name))
	}
	return func(l *Limiter) { l.identity.Trust.Header = textproto.CanonicalMIMEHeaderKey(name) }
}

// WithIPv6Prefix sets how many leading bits of an IPv6 address identify a client, from
// 1 to 128. The default is 64.
func WithIPv6Prefix(bits int) Option {
	if bits < 1 || bits > 128 {
		panic(fmt.Sprintf("core: WithIPv6Prefix: %d bits: use 1 to 128, usually 64, 56 or 48", bits))
	}
	return func(l *Limiter) { l.identity.Bits = bits }
}

// WithKeySecret makes digests of credentials with HMAC-SHA-256 under secret,
// so that nobody who reads Redis can test guesses. All processes that share
// logs need the same secret. An empty secret is the same as none: plain
// SHA-256, which is enough for long random API keys.
//
// Another secret makes other keys. To rotate the secret without a new budget for any
// client, give the former one too for a while:
//
//  1. Deploy core.WithKeySecret(secret, former) to all processes.
//  2. Wait for the longest window of your policies after the last process without the
//     new secret has ended.
//  3. Deploy core.WithKeySecret(secret).
//
// With both secrets, a request is charged on the log of its new key and on that of its
// former key, all or nothing. It needs room on both. A process with the former secret
// alone charges the log of the former key. So this log has all requests until the last
// such process ends. The log of the new key has all requests from then on, and one window
// later it has all that count. So no limit is exceeded while the processes of two
// consecutive deployments run side by side. Either deployment can be rolled back.
//
// Decisions and observers show the new key and the fuller log. A rule on either key
// holds in processes with both secrets. Before step 3, set the rules on former keys
// anew: "streamlimit digest" prints both keys of a credential. Keys without a digest do
// not change. Further details:
//
//   - [Limiter.Peek], Reset, Entries, Settle and Unban concern both logs. The limiter
//     finds the former key of the last 131,072 clients, or more, that this process has
//     made keys for. Any other key has one log.
//   - On one Redis server a decision is one round trip. On a Cluster, the two logs are
//     on two servers. A decision on a policy without [Refundable] or [Lease] takes up to
//     three round trips there. If another request takes the room in between, a unit is
//     lost: the client gets less, and never more.
//   - Policies in shadow mode and concurrency policies count by the new key alone.
//   - Denials of a Redis store are not cached. A memory store holds two logs for each
//     client.
//
// Give at most one former secret, or WithKeySecret panics. An empty one is the same as
// none, so adding the first secret gives each client a new budget once. So does changing
// the secret without a former one. Processes with either secret count separately then: a
// client can have up to twice its limit until one longest window after the change.
func WithKeySecret(secret []byte, former ...[]byte) Option {
	if len(former) > 1 {
		panic("core: WithKeySecret: several former secrets: end one rotation before the next")
	}
	return func(l *Limiter) { l.identity.SetSecret(secret, slices.Concat(former...)) }
}

// WithHashedAddresses keeps addresses of clients out of keys, and so out of the store, the
// monitor and what observers receive: adapters count by "address=" and the digest of the
// address, or of the prefix. It needs [WithKeySecret], since anybody can try all IPv4
// addresses. Rules on networks still hold: they are matched with the address of the
// request before it is hashed. Ban a client by the key that the monitor shows, or by what
// AddressKey of package adapter returns. The monitor also takes the address. All processes that share logs need the option.
// Adding or removing it changes the keys, so it gives each client a new budget once.
func WithHashedAddresses() Option {
	return func(l *Limiter) { l.identity.Hashed = true }
}

// WithLogger sets the logger for the limiter's few log lines. The default is
// slog.Default().
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("core: WithLogger: nil logger: leave the option out for slog.Default()")
	}
	return func(l *Limiter) { l.warnings.Logger = logger }
}

// WithTrustedUnixSocket trusts a peer without an address as a proxy. It is for a server
// that listens on a Unix socket for a proxy on the same machine. Without this option
// such peers are refused with [ErrNoKey].
func WithTrustedUnixSocket() Option {
	return func(l *Limiter) { l.identity.Trust.Unix = true }
}

// WithFailureMode sets what happens to requests when the store does not answer,
// for policies without an [OnStoreFailure] of their own. The default is [FailLocal].
// When this process is overloaded (see [ErrOverloaded]), FailLocal refuses as
// FailClosed does, since the store still has the budget.
func WithFailureMode(mode FailureMode) Option {
	if !mode.valid() {
		panic("core: WithFailureMode: no such mode: use core.FailClosed, core.FailOpen or core.FailLocal")
	}
	return func(l *Limiter) { l.failure = mode }
}

// WithLocalShare sets the share of each limit that this process enforces while the
// store does not respond, above 0 and at most 1. The default is 1: each process
// enforces the full limit. With 4 processes, 0.25 keeps the total. The share of a limit
// is rounded down to whole units, but is at least 1. A cost above the share takes all
// of it. Decisions show the share as their limit.
func WithLocalShare(share float64) Option {
	if !(share > 0 && share <= 1) { // not a number is neither
		panic(fmt.Sprintf("core: WithLocalShare: %v: use more than 0 and at most 1, such as 0.25 for one process of 4", share))
	}
	return func(l *Limiter) { l.local.share = share }
}
