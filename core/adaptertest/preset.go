package adaptertest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// checkDefaults checks that a limit has the options of its preset, then its own options,
// and no options of another limit.
func checkDefaults(t *testing.T, s suite) {
	limiter, _ := newLimiter(t)
	policy := func(name string) *core.Policy { return core.NewPolicy(name, core.PerMinute(5)) }
	defaults := &options{
		key: byConstant("all"), also: []also{{policy("service"), byConstant("everyone")}}, headers: []core.HeaderForm{core.HeadersX},
	}
	plain := limit{limiter, policy("plain"), options{defaults: defaults}}
	own := limit{limiter, policy("own"), options{
		key: byHeader("X-API-Key"), also: []also{{policy("more"), byConstant("others")}}, headers: []core.HeaderForm{core.HeadersIETF}, defaults: defaults,
	}}
	routes := []route{
		{path: "/plain", limits: []limit{plain}},
		{path: "/own", limits: []limit{own}},
		{path: "/again", limits: []limit{plain}},
	}
	w := s.open(t, app{groups: []group{{routes: routes}}})
	for _, c := range []struct{ path, want string }{
		{"/plain", "plain all, service everyone"},
		{"/own", "own " + digest("x-api-key", "k") + ", service everyone, more others"},
		{"/again", "plain all, service everyone"},
	} {
		r := w.get(c.path, "X-API-Key: k").want(http.StatusOK)
		var counted []string
		for _, d := range w.passed[len(w.passed)-1] {
			counted = append(counted, d.Policy.Name()+" "+d.Key)
		}
		if got := strings.Join(counted, ", "); got != c.want {
			t.Errorf("%s: counted by %s, want %s", c.path, got, c.want)
		}
		if x, ietf := r.header.Get("X-RateLimit-Limit"), r.header.Get("RateLimit"); (x == "") != (c.path == "/own") || (ietf == "") == (c.path == "/own") {
			t.Errorf("%s: X-RateLimit-Limit %q, RateLimit %q", c.path, x, ietf)
		}
	}
}
