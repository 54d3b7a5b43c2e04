package core_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// BenchmarkMemoryAllow is a decision from this process's memory.
func BenchmarkMemoryAllow(b *testing.B) {
	policies := map[string]*core.Policy{
		"one limit":  core.NewPolicy("one", core.PerSecond(1_000_000)),
		"two limits": core.NewPolicy("two", core.PerSecond(1_000_000), core.PerMinute(60_000_000)),
		"denied":     core.NewPolicy("denied", core.PerDay(1)),
	}
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = "key-" + strconv.Itoa(i)
	}
	for name, p := range policies {
		b.Run(name, func(b *testing.B) {
			limiter := core.New(core.NewMemory())
			defer limiter.Close()
			b.ReportAllocs()
			for i := range b.N {
				if _, err := limiter.Allow(b.Context(), p, keys[i%len(keys)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRules is what rules that are on others add to a decision.
func BenchmarkRules(b *testing.B) {
	p := core.NewPolicy("p", core.PerSecond(1_000_000))
	for _, n := range []int{0, 10, 100_000} {
		for _, kind := range []string{"keys", "networks", "overrides"} {
			b.Run(fmt.Sprint(n, " ", kind), func(b *testing.B) {
				store := core.NewMemory()
				for i := range n {
					r := core.Rule{Kind: core.RuleBlock, Key: "other-" + strconv.Itoa(i)}
					switch kind {
					case "networks":
						addr := netip.AddrFrom4([4]byte{10, byte(i), byte(i >> 8), byte(i >> 16 << 6)})
						r = core.Rule{Kind: core.RuleBlock, Network: netip.PrefixFrom(addr, 26+i%3)}
					case "overrides":
						r = core.Rule{Kind: core.RuleOverride, Policy: "p" + strconv.Itoa(i), Limits: []core.Limit{core.PerSecond(1)}}
					}
					if err := store.SetRule(b.Context(), r.Stored()); err != nil {
						b.Fatal(err)
					}
				}
				limiter := core.New(store)
				defer limiter.Close()
				if rules, err := limiter.Rules(b.Context()); err != nil || len(rules) != n {
					b.Fatalf("%d rules, %v", len(rules), err)
				}
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					if d, err := limiter.Allow(b.Context(), p, "203.0.113.7"); err != nil || d.Reason != core.ReasonLimits {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkDigest is the key of a request with an API key.
func BenchmarkDigest(b *testing.B) {
	for name, options := range map[string][]core.Option{
		"SHA-256": nil,
		"HMAC":    {core.WithKeySecret([]byte("secret"))},
		"rotated": {core.WithKeySecret([]byte("secret"), []byte("former"))},
	} {
		b.Run(name, func(b *testing.B) {
			limiter := core.New(core.NewMemory(), options...)
			defer limiter.Close()
			id := limiter.Seam().Identity
			b.ReportAllocs()
			for range b.N {
				if _, err := id.Digest("x-api-key", "0123456789abcdef0123456789abcdef"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBanMemory is a ban beside others, in a store and in the limiter that sets
// it: it costs nearly the same for any number of them.
func BenchmarkBanMemory(b *testing.B) {
	for _, n := range []int{10, 10_000, 90_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			store := core.NewMemory()
			for i := range n {
				if err := store.SetRule(b.Context(), core.Rule{Kind: core.RuleBlock, Key: "other-" + strconv.Itoa(i)}.Stored()); err != nil {
					b.Fatal(err)
				}
			}
			limiter := core.New(store)
			defer limiter.Close()
			if _, err := limiter.Rules(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := limiter.Ban(b.Context(), "client-"+strconv.Itoa(i%1000), time.Hour); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
