package redisstream

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// One server of a ring is killed: the logs of the others don't notice, and its
// own start empty on the others.
func TestRingUnderLoad(t *testing.T) {
	servers := map[string]*redistest.Server{"a": redistest.Start(t), "b": redistest.Start(t), "c": redistest.Start(t)}
	addrs := make(map[string]string)
	for name, server := range servers {
		addrs[name] = server.Addr
	}
	ring := redis.NewRing(&redis.RingOptions{Addrs: addrs, DisableIdentity: true, ContextTimeoutEnabled: true, DialerRetries: 1})
	t.Cleanup(func() { ring.Close() })
	s := New(ring, patient)

	l := startLoad(t, s, 4, loadPolicies(100)...)
	l.exhaust(t)
	for _, a := range l.accounts {
		a.exact(t)
	}

	s = New(ring, patient, WithPrefix("killed:"))
	l = startLoad(t, s, 12, loadPolicies(400)[:2]...)
	var hit, others []*account
	for _, a := range l.accounts {
		client, err := ring.GetShardClientForKey(s.logKey(a.policy, a.key))
		must(t, err)
		if client.Options().Addr == servers["a"].Addr {
			hit = append(hit, a)
		} else {
			others = append(others, a)
		}
	}
	if len(hit) == 0 || len(others) == 0 {
		t.Fatal("all logs are on one side")
	}
	l.awaitAll(t, "load", func(a *account) bool { return len(a.admitted) > 50 })
	killed := time.Now()
	servers["a"].Kill()
	l.exhaust(t)
	for _, a := range others {
		a.exact(t)
	}
	back := killed
	for _, a := range hit {
		if a.back.After(back) {
			back = a.back
		}
		if got, most := len(a.admitted), 2*int(a.policy.Limits[0].Max); got > most || len(a.errors) == 0 {
			t.Errorf("%s: %d admitted and %d errors, want at most %d, in two logs", a.name(), got, len(a.errors), most)
		}
	}
	t.Logf("decisions back after %v", back.Sub(killed))
}
