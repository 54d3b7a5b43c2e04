package faults

import (
	"errors"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

func TestRow17_WrongType(t *testing.T) {
	t.Parallel()
	r := row(t, 17)
	server := redistest.Start(t)
	rdb := server.Client()
	var log lines
	limiter := log.limiter(t, server)
	errs := 0
	for _, p := range layouts("wrong", core.PerHour(100)) {
		if _, err := limiter.Allow(t.Context(), p, "k"); err != nil {
			t.Fatal(err)
		}
		keys := rdb.Keys(t.Context(), "streamlimit:*}:"+p.Log().Name).Val()
		if len(keys) != 1 {
			t.Fatalf("%s: logs %v", p.Name(), keys)
		}
		if err := rdb.Set(t.Context(), keys[0], "mine", 0).Err(); err != nil {
			t.Fatal(err)
		}
		other := core.NewPolicy("other", core.PerHour(100), core.Refundable(0))
		for what, ask := range map[string]func() error{
			"Allow": func() error { _, err := limiter.Allow(t.Context(), p, "k"); return err },
			"Peek":  func() error { _, err := limiter.Peek(t.Context(), p, "k"); return err },
			"AllowAll": func() error {
				_, err := limiter.AllowAll(t.Context(), core.Charge{Policy: p, Key: "k"}, core.Charge{Policy: other, Key: "k"})
				return err
			},
			"AllowAll, the second": func() error {
				_, err := limiter.AllowAll(t.Context(), core.Charge{Policy: other, Key: "k"}, core.Charge{Policy: p, Key: "k"})
				return err
			},
		} {
			err := ask()
			if !errors.Is(err, store.ErrWrongType) || !strings.Contains(err.Error(), "policy "+p.Name()+":") {
				t.Errorf("%s, %s: %v; want a store.ErrWrongType that names the policy", p.Name(), what, err)
			}
			if got := rdb.Get(t.Context(), keys[0]).Val(); got != "mine" {
				t.Errorf("%s, %s: the value is now %q", p.Name(), what, got)
			}
			errs++
		}
		if ttl := rdb.PTTL(t.Context(), keys[0]).Val(); ttl >= 0 {
			t.Errorf("%s: the value ends in %v", p.Name(), ttl)
		}
		if d, err := limiter.Peek(t.Context(), other, "k"); err != nil || d.Remaining != 100 {
			t.Errorf("%s: the other policy: %+v, %v", p.Name(), d, err)
		}
	}
	if h := limiter.Health(); h.Down != nil {
		t.Errorf("%+v, want none: the server answers", h)
	}
	log.want(t, 1, "WRONGTYPE")
	r.Figure("%d errors name the policy, 0 values changed", errs)
}
