package adaptertest

import (
	"net/http"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// checkKeyRotation checks that clients keep their budgets while processes with another
// secret take over, for each kind of key that has a digest.
func checkKeyRotation(t *testing.T, s suite) {
	for name, c := range map[string]struct {
		key    *key
		fields []string
	}{
		"header":  {byHeader("X-API-Key"), []string{"X-API-Key: a"}},
		"bearer":  {byBearer(), []string{"Authorization: Bearer a"}},
		"basic":   {byBasicUser(), []string{"Authorization: Basic YTpi"}},
		"secret":  {bySecret("session", user), []string{"X-User: alice"}},
		"first":   {byFirst(byBearer(), byHeader("X-API-Key")), []string{"X-API-Key: a"}},
		"all":     {byAll(byHeader("X-API-Key"), bySecret("session", user), byAddress()), []string{"X-API-Key: a", "X-User: alice"}},
		"address": {nil, nil}, // hashed
	} {
		t.Run(name, func(t *testing.T) {
			clock := &clock{}
			shared := core.NewMemory(core.WithClock(clock.now))
			policy := core.NewPolicy("api", core.PerMinute(3))
			open := func(secret string, former ...[]byte) *site {
				limiter := core.New(shared, core.WithHashedAddresses(), core.WithKeySecret([]byte(secret), former...))
				t.Cleanup(func() { limiter.Close() })
				return s.openRoute(t, limit{limiter, policy, options{key: c.key}})
			}
			before, during, after := open("old"), open("new", []byte("old")), open("new")
			before.get("/1", c.fields...).want(http.StatusOK)
			during.get("/1", c.fields...).want(http.StatusOK).wantField("RateLimit", `"api";r=1;t=60`)
			during.get("/1", c.fields...).want(http.StatusOK)
			during.get("/1", c.fields...).wantDeniedBy("api")
			before.get("/1", c.fields...).wantDeniedBy("api")

			clock.advance(time.Minute)
			for range 3 {
				during.get("/1", c.fields...).want(http.StatusOK)
			}
			after.get("/1", c.fields...).wantDeniedBy("api")
			clock.advance(time.Minute)
			after.get("/1", c.fields...).want(http.StatusOK)
			if got, want := during.newest().Key, after.newest().Key; got != want {
				t.Errorf("counted by %q, and later by %q", got, want)
			}
		})
	}
}
