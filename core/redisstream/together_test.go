package redisstream

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// To find out which of several logs is none takes questions of its own. All are
// over with the timeout, once, and the error says what is known.
func TestSeveralPoliciesTakeOneTimeout(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { rdb.Close() })
	const timeout = 500 * time.Millisecond
	s := New(rdb, WithTimeout(timeout))
	var asks []store.Charge
	for i := range 8 {
		asks = append(asks, store.Charge{Log: newLog(fmt.Sprint("p", i), core.PerMinute(5)), Key: "k", Cost: 1})
	}
	if _, err := s.TakeAll(t.Context(), asks); err != nil {
		t.Fatal(err)
	}
	if err := server.Client().Set(t.Context(), s.logKey(asks[7].Log, "k"), "something else", 0).Err(); err != nil {
		t.Fatal(err)
	}
	var one *store.ChargeError
	if _, err := s.TakeAll(t.Context(), asks); !errors.As(err, &one) || one.Index != 7 || !errors.Is(err, store.ErrWrongType) {
		t.Errorf("%v, want an error about the last question", err)
	}
	proxy.Delay(timeout/4, timeout/4)
	begin := time.Now()
	_, err := s.TakeAll(t.Context(), asks)
	if took := time.Since(begin); !errors.Is(err, store.ErrWrongType) || took > 2*timeout {
		t.Errorf("%v after %v, want ErrWrongType within %v", err, took, timeout)
	}
}
