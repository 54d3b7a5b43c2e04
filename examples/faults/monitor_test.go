package faults

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/examples/internal/program"
)

const (
	password = "of the monitor"
	victim   = "203.0.113.7" // a client that attackers would harm or free
	taken    = 3             // of its limit
)

// No response of the service or its monitor returns client text as markup. The monitor
// shows nothing and does nothing without a login.
func TestRow28_MonitorAttacked(t *testing.T) {
	t.Parallel()
	r := row(t, 28)
	client := &http.Client{Transport: &http.Transport{}, Timeout: program.Timeout}
	answers, attempts, bypasses := 0, 0, 0
	for _, framework := range program.Servers {
		t.Run(framework, func(t *testing.T) {
			defer client.CloseIdleConnections()
			settings := []string{"TRUSTED_PROXIES=127.0.0.0/8", "POLICY_PROTECTED=10/hour"}
			linked, locked := newBurglar(t, client, framework, settings...), newBurglar(t, client, framework, append(settings, "MONITOR_PASSWORD="+password)...)
			answers += markup(t, client, linked.base, linked.login)
			linked.finds(markups[0])
			for _, b := range []*burglar{linked, locked} {
				for range taken {
					b.asVictim()
				}
				b.fromElsewhere()
				b.fromOtherSites()
				b.unchanged()
				b.guess()
				b.unchanged() // guesses don't keep out who has the secret
				b.acts()      // so it was not for another reason that nothing has changed
				attempts += b.attempts
				bypasses += b.bypasses
			}
		})
	}
	t.Run("handler", func(t *testing.T) {
		b := burglar{T: t, login: func(*http.Request) {}}
		b.fromAnywhere()
		b.onReadOnly()
		attempts += b.attempts
		bypasses += b.bypasses
	})
	r.Figure("%d bypasses in %d attempts; %d answers, none with markup", bypasses, attempts, answers)
}

// finds checks that the monitor shows a client's text, after about a second.
func (b *burglar) finds(text string) {
	b.Helper()
	var found struct{ Keys []struct{ Key string } }
	for end := time.Now().Add(program.Timeout); len(found.Keys) == 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		b.read("api/search?q="+url.QueryEscape(text), &found)
	}
	if len(found.Keys) == 0 || !strings.Contains(found.Keys[0].Key, text) {
		b.Errorf("the monitor knows of no key with %s: %v", text, found)
	}
}

// unchanged checks that the victim's log and the rules have not changed.
func (b *burglar) unchanged() {
	b.Helper()
	var state struct{ Rules []any }
	b.read("api/state", &state)
	var key struct {
		Limits []struct{ Max, Used int }
		Rules  []any
	}
	b.read("api/key?policy=protected&key="+victim, &key)
	if len(state.Rules) != 0 || len(key.Rules) != 0 || len(key.Limits) != 1 || key.Limits[0].Max != 10 || key.Limits[0].Used != taken {
		b.bypasses++
		b.Errorf("rules %v, the victim's key %+v", state.Rules, key)
	}
}

// asVictim sends a request of the victim.
func (b *burglar) asVictim() {
	b.Helper()
	r := newRequest(b.Context(), "GET", b.base+"/protected", "")
	r.Header.Set("X-Forwarded-For", victim)
	resp, err := b.client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b.Errorf("the victim's request: status %d", resp.StatusCode)
	}
}

// acts sends all actions with a login: the requests rejected above are possible.
func (b *burglar) acts() {
	b.Helper()
	for _, name := range []string{"reset", "ban", "unban", "override", "restore"} {
		b.do(name)
	}
}

func (b *burglar) do(name string) {
	b.Helper()
	r := b.action(name)
	b.login(r)
	resp, err := b.client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusNoContent {
		b.Errorf("%s: status %d: %s", name, resp.StatusCode, body)
	}
}

// read reads JSON with a login.
func (b *burglar) read(path string, into any) {
	b.Helper()
	r := b.view(path)
	b.login(r)
	resp, err := b.client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("%s: status %d, %v", path, resp.StatusCode, err)
	}
}

func newMonitor(t *testing.T, options ...monitor.Option) http.Handler {
	t.Helper()
	store := core.NewMemory()
	recorder := monitor.NewRecorder(store)
	limiter := core.New(store, core.WithObserver(recorder))
	t.Cleanup(func() {
		recorder.Close()
		limiter.Close()
	})
	protected := core.NewPolicy("protected", core.PerHour(10))
	for range taken {
		if _, err := limiter.Allow(t.Context(), protected, victim); err != nil {
			t.Fatal(err)
		}
	}
	return monitor.New(limiter, recorder, options...)
}
