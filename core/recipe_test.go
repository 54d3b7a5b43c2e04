package core_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// A test sets the clock of the memory store, so that no window takes time.
func ExampleWithClock() {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	limiter := core.New(core.NewMemory(core.WithClock(func() time.Time { return now })))
	defer limiter.Close()
	strict := core.NewPolicy("strict", core.Per(1, 10*time.Second))

	for range 3 {
		d, _ := limiter.Allow(context.Background(), strict, "203.0.113.7")
		fmt.Println(d.Allowed, d.RetryAfter)
		now = now.Add(5 * time.Second)
	}
	// Output:
	// true 0s
	// false 5s
	// true 0s
}

// brokenStore is a store that does not respond.
type brokenStore struct{ core.Store }

func (brokenStore) Take(context.Context, *store.Log, string, int64) (store.Usage, error) {
	return store.Usage{}, errors.New("connection refused")
}

func (brokenStore) TakeAll(context.Context, []store.Charge) ([]store.Usage, error) {
	return nil, errors.New("connection refused")
}

// A test replaces two methods of the memory store to see what a service does while its
// Redis is down. A decision by one policy calls Take, and a decision by several policies
// calls TakeAll.
func ExampleStore_broken() {
	limiter := core.New(brokenStore{core.NewMemory()})
	defer limiter.Close()

	for _, mode := range []core.FailureMode{core.FailLocal, core.FailOpen, core.FailClosed} {
		p := core.NewPolicy(string(mode), core.PerHour(1), core.OnStoreFailure(mode))
		for range 2 {
			d, err := limiter.Allow(context.Background(), p, "203.0.113.7")
			if err != nil {
				fmt.Println(mode, core.ProblemFor(err).Status)
				continue
			}
			fmt.Println(mode, d.Allowed, d.Source, d.Reason)
		}
	}
	// Output:
	// local true fallback limits
	// local false fallback limits
	// open true none fail-open
	// open true none fail-open
	// closed 503
	// closed 503
}

// printer is an observer that prints results.
type printer string

func (p printer) Observe(o core.Observation) { fmt.Println(p, o.Policy.Name(), o.Result) }

// A limiter can have several observers, such as those of packages monitor and
// telemetry. Each of them receives every decision.
func ExampleWithObserver() {
	limiter := core.New(core.NewMemory(),
		core.WithObserver(printer("monitor:")),
		core.WithObserver(printer("metrics:")))
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerHour(1))

	for range 2 {
		_, _ = limiter.Allow(context.Background(), api, "203.0.113.7")
	}
	// Output:
	// monitor: api allowed
	// metrics: api allowed
	// monitor: api denied
	// metrics: api denied
}

// Per address, per user and per service: all or nothing.
func ExampleLimiter_AllowAll() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	perUser := core.NewPolicy("user", core.PerHour(1))
	perService := core.NewPolicy("service", core.PerHour(1000))

	for range 2 {
		decisions, err := limiter.AllowAll(context.Background(),
			core.Charge{Policy: perUser, Key: "ann"},
			core.Charge{Policy: perService, Key: "report"})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(core.Denied(decisions) == nil, decisions[0].Remaining, decisions[1].Remaining)
	}
	// Output:
	// true 0 999
	// false 0 999
}

// A stream that calls a language model takes an estimate before it starts. It settles at
// what it really used, also when the client has left. The context of the request may be
// canceled by then.
func ExampleLimiter_Settle() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	// Units can be given back for half an hour: half of the window. With a limit per minute
	// it would be 30 seconds, and a longer stream would stay charged (ErrTooLate).
	tokens := core.NewPolicy("tokens", core.PerHour(10_000), core.VariableCost(), core.Refundable(0))

	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	d, err := limiter.AllowN(ctx, tokens, "user-7", 1000)
	if err != nil || !d.Allowed {
		fmt.Println("no")
		return
	}
	leave() // after 150 tokens
	if err := limiter.Settle(context.WithoutCancel(ctx), d, 150); err != nil {
		fmt.Println(err)
	}

	d, _ = limiter.Peek(context.Background(), tokens, "user-7")
	fmt.Println(d.Remaining)
	// Output: 9850
}

// Rules change what holds, for all processes on the same store, without a deployment.
func ExampleLimiter_SetRule() {
	ctx := context.Background()
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	search := core.NewPolicy("search", core.PerMinute(100))

	rules := []core.Rule{
		{Kind: core.RuleBlock, Network: netip.MustParsePrefix("198.51.100.0/24")},
		{Kind: core.RuleExempt, Key: "user=monitoring"},
	}
	for _, r := range rules {
		if err := limiter.SetRule(ctx, r); err != nil {
			fmt.Println(err)
		}
	}
	_ = limiter.Ban(ctx, "203.0.113.7", 10*time.Minute)
	_ = limiter.SetRule(ctx, core.Rule{Kind: core.RuleOverride, Policy: "search", Limits: []core.Limit{core.PerMinute(5), core.PerHour(20)}}) // replaces all its limits

	for _, key := range []string{"198.51.100.1", "203.0.113.7", "user=monitoring", "user=ann"} {
		d, _ := limiter.Allow(ctx, search, key)
		fmt.Println(key, d.Allowed, d.Reason)
	}
	rules, _ = limiter.Rules(ctx)
	for _, r := range rules {
		_, _ = limiter.DeleteRule(ctx, r.ID())
	}
	fmt.Println(len(rules), "rules deleted")
	// Output:
	// 198.51.100.1 false blocked
	// 203.0.113.7 false banned
	// user=monitoring true exempt
	// user=ann true limits
	// 4 rules deleted
}

// A policy in shadow mode counts and denies nothing, so that a limit can be tried out.
func ExampleShadow() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	trial := core.NewPolicy("trial", core.PerHour(1), core.Shadow())

	for range 2 {
		d, _ := limiter.Allow(context.Background(), trial, "203.0.113.7")
		fmt.Println(d.Allowed, d.WouldDeny)
	}
	// Output:
	// true false
	// true true
}

// From redis_rate: a policy with a name takes the place of a limit.
//
//	res, err := limiter.Allow(ctx, "user-7", redis_rate.PerMinute(10)) // before
//
// What differs:
//
//   - res.Allowed is a number of requests, and d.Allowed is a bool. AllowAtMost, which
//     grants a part of a cost, is [core.Limiter.AllowUpTo], and d.Cost is the part.
//   - res.RetryAfter is -1 for an allowed request, and d.RetryAfter is 0.
//   - res.Limit is the limit of the call. d.Limit is the one of the policy that binds.
//   - Keys in Redis are rate:user-7 there. Here they start with streamlimit: and contain
//     a digest, so both libraries can use one Redis. Counts are not carried over.
//   - A limit of 10 a minute admits 10 at once there and then one every 6 seconds, nearly
//     20 in the first minute. Here it is at most 10 in every minute.
//   - An error of Redis is an error there. Here the failure mode decides: see
//     [core.WithFailureMode].
func ExampleLimiter_Allow_redisRate() {
	limiter := core.New(core.NewMemory()) // or redisstream.New with the same client
	defer limiter.Close()
	perUser := core.NewPolicy("user", core.PerMinute(10))

	d, err := limiter.Allow(context.Background(), perUser, "user-7")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(d.Allowed, d.Remaining, d.RetryAfter, d.Limit)
	// Output: true 9 0s 10/minute
}

// A gateway counts all requests to a backend under one key. With a lease, one call to
// Redis takes the units that a gateway uses in about a second, and the gateway hands them
// out itself. The limit holds for all gateways together. A lease gains nothing for keys
// with a request now and then.
func ExampleLease() {
	limiter := core.New(core.NewMemory()) // which needs no leases; redisstream.New takes them
	defer limiter.Close()                 // returns what is left
	backend := core.NewPolicy("backend", core.PerMinute(100_000), core.Lease(time.Second))

	d, err := limiter.Allow(context.Background(), backend, "backend")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(d.Allowed, d.Remaining, d.Source) // with Redis the source is mostly lease
	// Output: true 99999 memory
}

// A worker sends as many messages of its batch as the limit has room for.
func ExampleLimiter_AllowUpTo() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	messages := core.NewPolicy("messages", core.PerMinute(100), core.VariableCost())

	for range 3 {
		d, err := limiter.AllowUpTo(context.Background(), messages, "customer-7", 80)
		switch {
		case err != nil:
			fmt.Println(err)
		case d.Allowed:
			fmt.Println("send", d.Cost)
		default:
			fmt.Println("wait", d.RetryAfter.Round(time.Minute))
		}
	}
	// Output:
	// send 80
	// send 20
	// wait 1m0s
}
