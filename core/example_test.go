package core_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

func Example() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	strict := core.NewPolicy("strict", core.Per(2, 10*time.Second))

	for range 3 {
		d, err := limiter.Allow(context.Background(), strict, "203.0.113.7")
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(d.Allowed, d.Remaining, d.RetryAfter > 9*time.Second)
	}
	// Output:
	// true 1 false
	// true 0 false
	// false 0 true
}

func ExampleNewPolicy() {
	// At most 10 a second and 1,000 an hour, checked together.
	search := core.NewPolicy("search", core.PerSecond(10), core.PerHour(1000))
	fmt.Println(search, search.Limits())
	// Output: search [10/second 1000/hour]
}

func ExampleParseLimit() {
	for _, text := range []string{"100/minute", "5/10s", "20/fortnight"} {
		l, err := core.ParseLimit(text)
		fmt.Println(l, err)
	}
	// Output:
	// 100/minute <nil>
	// 5/10s <nil>
	// 0/0s core: limit "20/fortnight": unknown unit, use s, m, h, d or a Go duration
}

func ExampleParsePolicy() {
	p, err := core.ParsePolicy("search", []string{"20/second", "200/minute"})
	fmt.Println(p.Limits(), err)
	// Output: [20/second 200/minute] <nil>
}

func ExampleLimiter_AllowN() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	tokens := core.NewPolicy("tokens", core.PerMinute(10_000), core.VariableCost())

	d, _ := limiter.AllowN(context.Background(), tokens, "user-7", 2500)
	fmt.Println(d.Allowed, d.Remaining)

	_, err := limiter.AllowN(context.Background(), tokens, "user-7", 10_001)
	fmt.Println(errors.Is(err, core.ErrCost))
	// Output:
	// true 7500
	// true
}

func ExampleLimiter_Peek() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerMinute(100))

	for range 3 {
		d, _ := limiter.Peek(context.Background(), api, "user-7")
		fmt.Println(d.Remaining)
	}
	// Output:
	// 100
	// 100
	// 100
}

func ExampleDecision_Err() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.PerDay(1))
	limiter.Allow(context.Background(), api, "user-7")

	d, _ := limiter.Allow(context.Background(), api, "user-7")
	var limited *core.LimitedError
	if errors.As(d.Err(), &limited) {
		fmt.Println(limited.Decision.Limit)
	}
	// Output: 1/day
}

func ExampleWithTrustedProxies() {
	limiter := core.New(core.NewMemory(),
		core.WithTrustedProxies(netip.MustParsePrefix("10.0.0.0/8")),
		core.WithForwardedHeader("X-Forwarded-For"),
	)
	defer limiter.Close()
	// Output:
}

// A process with both secrets takes over from one with the former secret, and the client
// keeps its budget.
func ExampleWithKeySecret() {
	store := core.NewMemory()
	former, secret := []byte("former secret"), []byte("new secret")
	before := core.New(store, core.WithKeySecret(former))
	during := core.New(store, core.WithKeySecret(secret, former))
	defer before.Close()
	defer during.Close()

	api := core.NewPolicy("api", core.PerMinute(100))
	for _, limiter := range []*core.Limiter{before, during} {
		key, err := adapter.CredentialKey(limiter, "x-api-key", "API key of the client")
		if err != nil {
			fmt.Println(err)
			return
		}
		d, err := limiter.Allow(context.Background(), api, key)
		fmt.Println(d.Allowed, d.Remaining, err)
	}
	// Output:
	// true 99 <nil>
	// true 98 <nil>
}

// A worker waits for its turn, but not beyond its deadline.
func ExampleLimiter_Wait() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	mails := core.NewPolicy("mails", core.Per(2, 100*time.Millisecond))

	begun := time.Now()
	for range 4 {
		if err := limiter.Wait(context.Background(), mails, "smtp.example.com"); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println(time.Since(begun) >= 100*time.Millisecond)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	err := limiter.Wait(ctx, mails, "smtp.example.com")
	var limited *core.LimitedError
	fmt.Println(errors.Is(err, context.DeadlineExceeded), errors.As(err, &limited))
	// Output:
	// true
	// true true
}

// A request to a language model takes as many units as it has tokens.
func ExampleLimiter_WaitN() {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	tokens := core.NewPolicy("tokens", core.PerMinute(10_000), core.VariableCost())

	err := limiter.WaitN(context.Background(), tokens, "model", 2500)
	fmt.Println(err)
	// Output: <nil>
}

// A worker that converts at most two files of a user at once, on all machines.
func ExampleLimiter_Acquire() {
	limiter := core.New(core.NewMemory()) // redisstream.New, to share the limit
	defer limiter.Close()
	convert := core.NewConcurrency("convert", 2, 30*time.Second)

	ctx := context.Background()
	first, _ := limiter.Acquire(ctx, convert, "ada")
	second, _ := limiter.Acquire(ctx, convert, "ada")
	defer second.Release()
	_, err := limiter.Acquire(ctx, convert, "ada")
	fmt.Println(err)

	first.Release()
	third, err := limiter.Acquire(ctx, convert, "ada")
	fmt.Println(err)
	defer third.Release()
	// Output:
	// streamlimit: policy convert: 2 in flight; retry when one has ended
	// <nil>
}
