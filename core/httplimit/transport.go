package httplimit

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// Transport is an [http.RoundTripper] that keeps requests to another service within that
// service's limits. All processes whose limiters share a store together send no more than
// the policy admits. Make one Transport in each process, with [NewTransport].
//
// A Transport sends each request at most once, unless [WithRetries] says otherwise. A
// request that http.Client makes for a redirect is counted as another request.
type Transport struct {
	limiter *core.Limiter
	policy  *core.Policy
	base    http.RoundTripper
	key     func(*http.Request) (string, error)
	failing bool // in place of waiting
	longest time.Duration
	retries int
	pauses  pauses
}

// TransportOption is a setting for [NewTransport]. If an option is given twice, the last
// one applies.
type TransportOption func(*Transport)

// NewTransport returns a transport whose requests are limited by policy:
//
//	mailer := core.NewPolicy("mailer", core.PerSecond(10), core.OnStoreFailure(core.FailClosed))
//	client := &http.Client{Transport: httplimit.NewTransport(limiter, mailer)}
//
// By default, requests are counted by the host that they go to. Each takes 1 unit, and
// waits for it as [core.Limiter.Wait] does. If the context's deadline, or the Timeout of
// the client, is too early for that, the request fails at once with an error that wraps
// [context.DeadlineExceeded] and the [*core.LimitedError].
//
// The transport obeys Retry-After in responses with status 429 or 503: until that time,
// this process sends no request with the same key. Requests wait for the end of this
// pause, or fail with a [*PauseError] if they can't. The response itself is returned. A
// request that had its unit when the pause began loses the unit.
//
// Without the store, each process enforces the policy alone by default, so the processes
// together can exceed the other side's limit: see [core.OnStoreFailure].
//
// NewTransport panics on a nil limiter or policy, and on a concurrency policy. It registers the policy with the limiter.
func NewTransport(limiter *core.Limiter, policy *core.Policy, options ...TransportOption) *Transport {
	const name = "httplimit: NewTransport: "
	switch {
	case limiter == nil:
		panic(name + "nil limiter: make one with core.New")
	case policy == nil || len(policy.Limits()) == 0:
		panic(name + "nil policy: make one with core.NewPolicy")
	case policy.Concurrency():
		panic(name + "a concurrency policy: hold a slot of core.Limiter.Acquire while you call the other side")
	}
	t := &Transport{limiter: limiter, policy: policy, base: http.DefaultTransport, key: host, longest: 5 * time.Minute}
	for _, o := range options {
		if o == nil {
			panic(name + "a nil option: leave it out")
		}
		o(t)
	}
	if t.failing && t.retries > 0 {
		panic(name + "WithRetries and WithoutWait: a retry waits, so use one of them")
	}
	limiter.Register(policy)
	return t
}

// WithBase sets the transport that sends the requests. The default is
// [http.DefaultTransport].
func WithBase(base http.RoundTripper) TransportOption {
	if base == nil {
		panic("httplimit: WithBase: nil transport: leave the option out for http.DefaultTransport")
	}
	return func(t *Transport) { t.base = base }
}

// WithRequestKey sets a function that returns what a request is counted by, such as the
// account that it is sent for. The key is kept as it is, so it must not be a secret. The
// default is the host in the request's URL, in lower case, with its port unless that is
// the scheme's default. An error, or an empty key, fails the request.
func WithRequestKey(key func(*http.Request) (string, error)) TransportOption {
	if key == nil {
		panic("httplimit: WithRequestKey: nil function: leave the option out for the host")
	}
	return func(t *Transport) { t.key = key }
}

// WithoutWait makes requests fail at once in place of waiting: with a [*core.LimitedError]
// when the policy has no room, and with a [*PauseError] in a pause.
func WithoutWait() TransportOption { return func(t *Transport) { t.failing = true } }

// WithMaxPause sets the longest pause for a Retry-After. The default is 5 minutes. After
// the longest pause, requests are sent again even if the Retry-After was longer.
func WithMaxPause(d time.Duration) TransportOption {
	if d <= 0 {
		panic(fmt.Sprintf("httplimit: WithMaxPause: %v: use more than 0, such as time.Minute", d))
	}
	return func(t *Transport) { t.longest = d }
}

// WithRetries sends a request again, at most n times, if the response is 429 or 503 with a
// Retry-After. The default is 0. Each retry takes a unit and waits for the Retry-After.
// The last response is returned. A response whose Retry-After is beyond the request's
// deadline or the longest pause is returned without a retry. A request whose body can't be
// sent again is not retried: see GetBody of [http.Request].
func WithRetries(n int) TransportOption {
	if n < 0 {
		panic(fmt.Sprintf("httplimit: WithRetries: %d: use 0 or more", n))
	}
	return func(t *Transport) { t.retries = n }
}

// PauseError is the error of a request that was not sent, since the other side had asked
// for a pause with Retry-After. If the request's deadline was too early to wait, the error
// also wraps [context.DeadlineExceeded].
type PauseError struct {
	RetryAfter time.Duration // until the end of the pause
}

func (e *PauseError) Error() string {
	return fmt.Sprintf("httplimit: the other side asked for a pause; retry in %v", e.RetryAfter.Round(time.Millisecond))
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	key, err := t.key(r)
	if err != nil {
		closeBody(r)
		return nil, fmt.Errorf("httplimit: key of a request: %w", err)
	}
	for left := t.retries; ; left-- {
		if err := t.admit(r.Context(), key); err != nil {
			closeBody(r)
			return nil, err
		}
		resp, err := t.base.RoundTrip(r)
		if err != nil {
			return resp, err
		}
		after, ok := retryAfter(resp)
		if !ok {
			return resp, nil
		}
		until := time.Now().Add(min(after, t.longest))
		t.pauses.begin(key, until)
		deadline, limited := r.Context().Deadline()
		if left == 0 || after > t.longest || limited && !until.Before(deadline) {
			return resp, nil
		}
		again, ok := replay(r)
		if !ok {
			return resp, nil
		}
		discard(resp)
		r = again
	}
}

// CloseIdleConnections closes the idle connections of the transport that sends the
// requests.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// admit returns nil when a request may be sent now.
func (t *Transport) admit(ctx context.Context, key string) error {
	for {
		if err := t.pause(ctx, key); err != nil {
			return err
		}
		if err := t.take(ctx, key); err != nil {
			return err
		}
		if t.pauses.left(key) <= 0 {
			return nil
		}
		// A pause has begun meanwhile, and the unit would be too old after it.
	}
}

func (t *Transport) take(ctx context.Context, key string) error {
	if !t.failing {
		return t.limiter.Wait(ctx, t.policy, key)
	}
	d, err := t.limiter.Allow(ctx, t.policy, key)
	if err != nil {
		return err
	}
	return d.Err()
}

// pause waits for the end of a pause.
func (t *Transport) pause(ctx context.Context, key string) error {
	for {
		left := t.pauses.left(key)
		if left <= 0 {
			return nil
		}
		if t.failing {
			return &PauseError{RetryAfter: left}
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= left {
			return fmt.Errorf("%w: %w", &PauseError{RetryAfter: left}, context.DeadlineExceeded)
		}
		timer := time.NewTimer(left)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// host is the default key.
func host(r *http.Request) (string, error) {
	name := strings.ToLower(r.URL.Host)
	if port := r.URL.Port(); port == "443" && r.URL.Scheme == "https" || port == "80" && r.URL.Scheme == "http" {
		name = strings.TrimSuffix(name, ":"+port)
	}
	return name, nil
}

// replay returns a copy of a request that was sent, with its body, if it can be sent again.
func replay(r *http.Request) (*http.Request, bool) {
	again := r.Clone(r.Context())
	if r.Body == nil || r.Body == http.NoBody {
		return again, true
	}
	if r.GetBody == nil {
		return nil, false
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, false
	}
	again.Body = body
	return again, true
}

// closeBody closes the body of a request that is not sent, as RoundTrip must.
func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// discard closes a response that is not returned. Its connection can be used again if the
// body is short.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}
