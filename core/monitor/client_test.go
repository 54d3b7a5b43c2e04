package monitor_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// A client is blocked and exempt by its network, its address or its key. Both rules can
// be ended.
func TestBlockAndExempt(t *testing.T) {
	onStores(t, func(t *testing.T, store core.Store) {
		s := newSite(t, store)
		act := func(name, body string, status int) {
			t.Helper()
			if a := s.ask(t, "POST", "api/"+name, body); a.StatusCode != status {
				t.Errorf("%s %s: status %d, want %d: %s", name, body, a.StatusCode, status, a.body)
			}
		}
		reason := func(key string, want core.Reason) {
			t.Helper()
			if d, err := s.limiter.Peek(t.Context(), api, key); err != nil || d.Reason != want {
				t.Errorf("%s is decided by %v, want %v; %v", key, d.Reason, want, err)
			}
		}
		act("block", `{"key":"198.51.100.77/24"}`, 204)
		reason("198.51.100.9", core.ReasonBlocked)
		act("exempt", `{"key":"2001:db8::1","seconds":60}`, 204)
		reason("2001:db8::1", core.ReasonExempt)
		reason("2001:db8::2", core.ReasonLimits)
		act("block", `{"key":"user=ann","seconds":3600}`, 204)
		reason("user=ann", core.ReasonBlocked)

		rules, err := s.limiter.Rules(t.Context())
		if err != nil || len(rules) != 3 {
			t.Fatalf("rules %v, %v", rules, err)
		}
		for _, r := range rules {
			if left := time.Until(r.Until); (r.Key == "user=ann") != (left > 50*time.Minute) || r.Kind == core.RuleExempt && (left <= 0 || left > time.Minute) {
				t.Errorf("%s ends at %v", r.ID(), r.Until)
			}
		}
		act("unblock", `{"key":"198.51.100.0/24"}`, 204)
		reason("198.51.100.9", core.ReasonLimits)
		act("unexempt", `{"key":"2001:db8::1/128"}`, 204)
		act("unblock", `{"key":"user=ann"}`, 204)
		reason("user=ann", core.ReasonLimits)

		// A program may block an address as a key.
		if err := s.limiter.SetRule(t.Context(), core.Rule{Kind: core.RuleBlock, Key: "192.0.2.1"}); err != nil {
			t.Fatal(err)
		}
		act("unblock", `{"key":"192.0.2.1"}`, 204)
		act("unblock", `{"key":"192.0.2.1"}`, 404)
		act("unexempt", `{"key":"user=ann"}`, 404)
		act("block", `{}`, 400)
		act("exempt", `{"seconds":1}`, 400)
		act("block", `{"key":"k","seconds":-1}`, 400)
		act("block", `{"key":"k","seconds":1e300}`, 400)
		if rules, err := s.limiter.Rules(t.Context()); err != nil || len(rules) != 0 {
			t.Errorf("rules %v, %v; want none", rules, err)
		}
	})
}

// A search finds the key of a credential. The credential is in no log, and not in the
// store.
func TestSearchByCredential(t *testing.T) {
	const secret = "sk_live_51Hn8"
	server := redistest.Start(t)
	store := redisStore(t, server)
	var log lines
	recorder := monitor.NewRecorder(store)
	limiter := core.New(store, core.WithObserver(recorder), core.WithKeySecret([]byte("pepper")),
		core.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	page := monitor.New(limiter, recorder, monitor.WithAuthorize(anyone))
	s := &site{Server: httptest.NewServer(http.StripPrefix("/ratelimit", page)), limiter: limiter, recorder: recorder}
	defer limiter.Close()
	defer s.Close()
	defer recorder.Close()
	key, err := adapter.CredentialKey(limiter, "x-api-key", secret)
	if err != nil {
		t.Fatal(err)
	}
	type found struct {
		Keys    []struct{ Key string }
		Guesses []string
		Digest  string
	}
	search := func(q string) (f found) {
		t.Helper()
		a := s.ask(t, "POST", "api/search", fmt.Sprintf(`{"q":%q}`, q))
		if a.StatusCode != 200 {
			t.Fatalf("%q: status %d: %s", q, a.StatusCode, a.body)
		}
		if strings.Contains(a.body, secret) {
			t.Errorf("response to %q: %s", q, a.body)
		}
		if err := json.Unmarshal([]byte(a.body), &f); err != nil {
			t.Fatal(err)
		}
		return f
	}
	_, digest, _ := strings.Cut(key, "=")
	if f := search(secret); len(f.Keys) != 0 || len(f.Guesses) != 0 || f.Digest != digest {
		t.Errorf("before its first request: %+v", f)
	}
	joined, err := adapter.JoinKeys("192.0.2.1", key)
	if err != nil {
		t.Fatal(err)
	}
	s.allow(t, api, key, 1)
	s.allow(t, costs, joined, 1)
	for _, q := range []string{secret, "x-api-key=" + secret, key, digest} {
		eventually(t, "the key is found", func() bool {
			f := search(q)
			keys := map[string]bool{}
			for _, k := range f.Keys {
				keys[k.Key] = true
			}
			return len(f.Keys) == 2 && keys[key] && keys[joined]
		})
	}
	// A key that is not found may have one of these forms.
	other, err := adapter.CredentialKey(limiter, "x-api-key", "another")
	if err != nil {
		t.Fatal(err)
	}
	named := strings.Replace(other, "x-api-key", "user", 1)
	for q, want := range map[string]string{
		"another": "[" + other + "]", "x-api-key=another": "[" + other + "]", "user=another": "[user=another " + named + "]",
		"203.0.113.9": "[203.0.113.9]", "2001:db8::1": "[2001:db8::/64]", "2001:db8::/64": "[2001:db8::/64]", "": "[]",
	} {
		f := search(q)
		if got := fmt.Sprint(f.Guesses); q != "" && (got != want || len(f.Keys) != 0) || (f.Digest != "") != strings.Contains(q, "another") {
			t.Errorf("%q: %+v, want guesses %s", q, f, want)
		}
	}
	// A GET does not search for credentials, since its address is logged.
	var get found
	if s.get(t, "api/search?q="+secret, &get); len(get.Keys) != 0 || get.Digest != "" || len(get.Guesses) != 0 {
		t.Errorf("by GET: %+v", get)
	}
	if a := s.ask(t, "POST", "api/search", `{"q":"`+secret); a.StatusCode != 400 || strings.Contains(a.body, secret) {
		t.Errorf("status %d: %s", a.StatusCode, a.body)
	}
	_ = recorder.Close()
	kept := log.String()
	client := server.Client()
	for _, name := range client.Keys(t.Context(), "*").Val() {
		dump, err := client.Dump(t.Context(), name).Result()
		if err != nil {
			t.Fatal(err)
		}
		kept += name + dump
	}
	if strings.Contains(kept, secret) || strings.Contains(kept, "another") {
		t.Error("the credential is in the log or in Redis")
	}
}

// The page of a banned key shows the limits by its log. It also has the latest decisions,
// and the other policies with the key.
func TestKeyOfABannedClient(t *testing.T) {
	onStores(t, func(t *testing.T, store core.Store) {
		s := newSite(t, store)
		s.allow(t, api, "k", 7)
		s.allow(t, costs, "k", 2)
		if err := s.limiter.Ban(t.Context(), "k", time.Hour); err != nil {
			t.Fatal(err)
		}
		s.allow(t, api, "k", 3)
		if err := s.limiter.SetRule(t.Context(), core.Rule{Kind: core.RuleBlock, Network: netip.MustParsePrefix("192.0.2.0/24")}); err != nil {
			t.Fatal(err)
		}
		type counted struct {
			Policy          string
			Allowed, Denied int64
			DeniedError     int64
		}
		var k struct {
			Limits    []struct{ Max, Window, Used, FreeIn int64 }
			Entries   []struct{ Cost int64 }
			Rules     []struct{ Kind string }
			Networks  bool
			Lately    counted
			Elsewhere []counted
		}
		eventually(t, "the denials are counted", func() bool {
			k.Rules, k.Elsewhere = nil, nil
			s.get(t, "api/key?policy=api&key=k", &k)
			return k.Lately == counted{"api", 5, 5, 0}
		})
		var logged int64
		for _, e := range k.Entries {
			logged += e.Cost
		}
		if l := k.Limits[0]; l.Used != 5 || l.Max != 5 || l.Window != 60_000 || l.FreeIn <= 0 || logged != l.Used {
			t.Errorf("limits %+v, with %d in the log", k.Limits, logged)
		}
		if len(k.Rules) != 1 || k.Rules[0].Kind != "ban" || !k.Networks {
			t.Errorf("rules %+v, networks %v", k.Rules, k.Networks)
		}
		if len(k.Elsewhere) != 1 || k.Elsewhere[0] != (counted{"costs", 2, 0, 0}) {
			t.Errorf("elsewhere %+v", k.Elsewhere)
		}
		a := s.ask(t, "POST", "api/key", `{"policy":"api","key":"k"}`)
		if a.StatusCode != 200 || !strings.Contains(a.body, `"policy":"api"`) {
			t.Errorf("by POST: %d, %s", a.StatusCode, a.body)
		}
	})
}

// Without Redis a key can't be read. The response has a text for people.
func TestKeyWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	s := newSite(t, redisStore(t, server))
	s.allow(t, api, "k", 1)
	server.Kill()
	a := s.ask(t, "POST", "api/key", `{"policy":"api","key":"k"}`)
	if want := "the store does not answer, so the use of this key is not known"; a.StatusCode != 503 || !strings.Contains(a.body, want) || strings.Contains(a.body, server.Addr) {
		t.Errorf("status %d: %s, want %q", a.StatusCode, a.body, want)
	}
}

// With hashed addresses, a search by address finds a client. No response shows the
// address.
func TestHashedAddresses(t *testing.T) {
	const client = "203.0.113.7"
	var log lines
	recorder := monitor.NewRecorder(core.NewMemory())
	limiter := core.New(core.NewMemory(), core.WithObserver(recorder), core.WithKeySecret([]byte("pepper")), core.WithHashedAddresses(),
		core.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	page := monitor.New(limiter, recorder, monitor.WithAuthorize(anyone))
	s := &site{Server: httptest.NewServer(http.StripPrefix("/ratelimit", page)), limiter: limiter, recorder: recorder}
	defer limiter.Close()
	defer s.Close()
	defer recorder.Close()
	key, err := adapter.AddressKey(limiter, netip.MustParseAddr(client))
	if err != nil || strings.Contains(key, client) {
		t.Fatalf("the key is %q, %v", key, err)
	}
	for _, want := range []string{`"guesses":["` + key + `"]`, `"key":"` + key + `"`} {
		eventually(t, "the search is answered with "+want, func() bool {
			a := s.ask(t, "POST", "api/search", `{"q":"`+client+`"}`)
			if strings.Contains(a.body, client) {
				t.Errorf("response to the search: %s", a.body)
			}
			return strings.Contains(a.body, want)
		})
		s.allow(t, api, key, 1)
	}
	if a := s.ask(t, "POST", "api/ban", `{"key":"`+key+`","seconds":60}`); a.StatusCode != 204 {
		t.Errorf("a ban: %d %s", a.StatusCode, a.body)
	}
	if a := s.ask(t, "POST", "api/unban", `{"key":"`+key+`"}`); a.StatusCode != 204 {
		t.Errorf("the end of a ban: %d %s", a.StatusCode, a.body)
	}
	// An address from an operator is replaced by the key of its client.
	reason := func(when string, want core.Reason, remaining int64) {
		t.Helper()
		if d, err := limiter.Peek(t.Context(), api, key); err != nil || d.Reason != want || d.Remaining != remaining {
			t.Errorf("%s: %+v, %v; want %v", when, d, err, want)
		}
	}
	for _, step := range []struct {
		action, body string
		status       int
		reason       core.Reason
		remaining    int64
	}{
		{"ban", `{"key":"` + client + `","seconds":60}`, 204, core.ReasonBanned, 0},
		{"unban", `{"key":"::ffff:` + client + `"}`, 204, core.ReasonLimits, 3},
		{"unban", `{"key":"` + client + `"}`, 404, core.ReasonLimits, 3},
		{"ban", `{"key":"` + client + `/32","seconds":60}`, 204, core.ReasonBanned, 0},
		{"unban", `{"key":"` + client + `"}`, 204, core.ReasonLimits, 3},
		{"ban", `{"key":"` + client + `"}`, 400, core.ReasonLimits, 3},
		{"reset", `{"policy":"none","key":"` + client + `"}`, 404, core.ReasonLimits, 3},
		{"unblock", `{"key":"` + client + `"}`, 404, core.ReasonLimits, 3},
		{"block", `{"key":"` + client + `","seconds":-1}`, 400, core.ReasonLimits, 3},
		{"exempt", `{"key":"` + client + `/32","seconds":60}`, 204, core.ReasonLimits, 3},
		{"unexempt", `{"key":"` + client + `"}`, 204, core.ReasonLimits, 3},
		{"reset", `{"policy":"api","key":"` + client + `"}`, 204, core.ReasonLimits, 5},
	} {
		if a := s.ask(t, "POST", "api/"+step.action, step.body); a.StatusCode != step.status {
			t.Errorf("%s %s: status %d, want %d: %s", step.action, step.body, a.StatusCode, step.status, a.body)
		}
		reason(step.action, step.reason, step.remaining)
	}
	if a := s.ask(t, "GET", "api/key?policy=api&key="+client, ""); !strings.Contains(a.body, `"key":"`+key+`"`) {
		t.Errorf("the key of an address is %s", a.body)
	}
	if strings.Contains(log.String(), client) {
		t.Errorf("the log shows the address: %s", log.String())
	}
	// If a program has banned an address as a key, an unban of the address ends that ban.
	if err := limiter.Ban(t.Context(), client, time.Minute); err != nil {
		t.Fatal(err)
	}
	if a := s.ask(t, "POST", "api/unban", `{"key":"`+client+`"}`); a.StatusCode != 204 {
		t.Errorf("the end of a program's ban: %d %s", a.StatusCode, a.body)
	}
	peer, err := adapter.AddressKey(limiter, netip.MustParseAddr("127.0.0.1"))
	if text := log.String(); err != nil || strings.Contains(text, "127.0.0.1") || !strings.Contains(text, "peer=\""+peer) {
		t.Errorf("the log has %s, want peer %s", text, peer)
	}
}

// While the key secret is rotated, the page of a key shows the fuller log, and the rules
// on the former key.
func TestKeyWhileSecretIsRotated(t *testing.T) {
	logs := core.NewMemory()
	recorder := monitor.NewRecorder(logs)
	old := core.New(logs, core.WithKeySecret([]byte("old")))
	limiter := core.New(logs, core.WithObserver(recorder), core.WithKeySecret([]byte("new"), []byte("old")))
	page := monitor.New(limiter, recorder, monitor.WithAuthorize(anyone))
	s := &site{Server: httptest.NewServer(http.StripPrefix("/ratelimit", page)), limiter: limiter, recorder: recorder}
	defer old.Close()
	defer limiter.Close()
	defer s.Close()
	defer recorder.Close()
	keyOf := func(l *core.Limiter) string {
		key, err := adapter.CredentialKey(l, "x-api-key", "ann")
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	for range 2 {
		if _, err := old.Allow(t.Context(), api, keyOf(old)); err != nil {
			t.Fatal(err)
		}
	}
	s.allow(t, api, keyOf(limiter), 1)
	if err := limiter.SetRule(t.Context(), core.Rule{Kind: core.RuleExempt, Key: keyOf(old)}); err != nil {
		t.Fatal(err)
	}
	var shown struct {
		Key     string
		Limits  []struct{ Used int64 }
		Entries []struct{ Cost int64 }
		Rules   []struct{ Key string }
	}
	s.get(t, "api/key?policy=api&key="+url.QueryEscape(keyOf(limiter)), &shown)
	units := int64(0)
	for _, e := range shown.Entries {
		units += e.Cost
	}
	if shown.Key != keyOf(limiter) || len(shown.Limits) == 0 || shown.Limits[0].Used != 3 || units != 3 || len(shown.Rules) != 1 || shown.Rules[0].Key != keyOf(old) {
		t.Errorf("%+v", shown)
	}
}
