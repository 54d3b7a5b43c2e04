package redisstream

import (
	_ "embed"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

//go:embed doc.go
var documentation string

// The commands that the package documentation lists are all that is needed.
func TestLeastPrivilege(t *testing.T) {
	server := redistest.Start(t)
	admin := server.Client()
	rules := []any{"acl", "setuser", "limiter", "on", ">pw", "resetkeys", "~streamlimit:*", "resetchannels", "-@all"}
	for _, command := range documentedCommands(t) {
		rules = append(rules, "+"+command)
	}
	if err := admin.Do(t.Context(), rules...).Err(); err != nil {
		t.Fatal(err)
	}
	o := server.Options()
	o.Username, o.Password = "limiter", "pw"
	rdb := redis.NewClient(o)
	defer rdb.Close()
	s := New(rdb, patient)
	works(t, s)
	everything(t, s)
	if log := admin.Do(t.Context(), "acl", "log").Val().([]any); len(log) > 0 {
		t.Errorf("ACL LOG: %v", log)
	}
}

// SECURITY.md has a command that makes such a user, with the same list.
func TestLeastPrivilegeInSecurity(t *testing.T) {
	text, err := os.ReadFile("../../SECURITY.md")
	must(t, err)
	m := regexp.MustCompile(`ACL SETUSER limiter .* -@all (.*)`).FindSubmatch(text)
	if m == nil {
		t.Fatal("SECURITY.md makes no user")
	}
	want := "+" + strings.Join(documentedCommands(t), " +")
	if got := string(m[1]); got != want {
		t.Errorf("SECURITY.md has\n%s\nand the package documentation\n%s", got, want)
	}
}

// everything calls each method of a store, on each layout.
func everything(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	for _, p := range []*store.Log{countedLog, summedLog, refundedLog, coarseLog} {
		u := take(t, s, p, "k")
		take(t, s, p, "k") // joins the entry of a coarse log
		if p == refundedLog {
			if err := s.Settle(ctx, p, "k", u.Entry, -1); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Peek(ctx, p, "k", 1); err != nil {
			t.Error(err)
		}
		if entries, err := s.Entries(ctx, p, "k", 10); err != nil || len(entries) == 0 {
			t.Errorf("%s: entries %v, %v", p.Policy, entries, err)
		}
	}
	slots := core.NewConcurrency("slots", 2, time.Minute).Log()
	must(t, s.Reset(ctx, slots, "k"))
	for _, token := range []string{"a", "b", "c", "a"} {
		if _, err := s.TakeAll(ctx, []store.Charge{{Log: slots, Key: "k", Cost: 1, Token: token}}); err != nil {
			t.Error(err)
		}
	}
	slot := []store.Charge{{Log: slots, Key: "k", Token: "a"}}
	for range 2 { // the second may find that the first has changed nothing
		if err := s.RenewSlots(ctx, slot)[0]; err != nil {
			t.Error(err)
		}
	}
	if entries, err := s.Entries(ctx, slots, "k", 10); err != nil || len(entries) != 2 {
		t.Errorf("slots: entries %v, %v", entries, err)
	}
	if err := s.ReleaseSlots(ctx, slot)[0]; err != nil {
		t.Error(err)
	}
	after := newLog("changed", core.PerHour(1000), core.Refundable(0)).After(countedLog, summedLog, refundedLog, coarseLog)
	take(t, s, after, "k")
	for range 2 { // the second finds the first one's logs
		if _, err := s.RegisterLogs(ctx, []*store.Log{countedLog, newLog("short", core.Per(1, store.MinWindow))}); err != nil {
			t.Error(err)
		}
	}
	asks := []store.Charge{{Log: countedLog, Key: "k", Cost: 1}, {Log: refundedLog, Key: "k2", Cost: 1}, {Log: coarseLog, Key: "k", Cost: 1}, {Log: slots, Key: "k", Cost: 1, Token: "d"}}
	if _, err := s.TakeAll(ctx, asks); err != nil {
		t.Error(err)
	}
	if err := s.SetRule(ctx, kept(core.Rule{Kind: core.RuleBlock, Key: "k"})); err != nil {
		t.Error(err)
	}
	if rules, err := s.Rules(ctx, ""); err != nil || len(rules.Set) != 1 {
		t.Errorf("rules %v, %v", rules, err)
	}
	keys := s.ruleKeys()
	must(t, s.transport.rdb.Unlink(ctx, keys[1]).Err()) // the next change makes it anew
	if found, err := s.DeleteRule(ctx, "block key k"); err != nil || !found {
		t.Errorf("rule found %v, %v", found, err)
	}
	if err := s.Reset(ctx, countedLog, "k"); err != nil {
		t.Error(err)
	}
	if err := s.Ping(ctx); err != nil {
		t.Error(err)
	}
	awaitCheck(s)
}

// What the URL asks for needs the commands that the documentation adds, and nothing
// else: neither the protocol nor TLS needs more.
func TestLeastPrivilegeOpen(t *testing.T) {
	plain, encrypted := redistest.Start(t), redistest.StartTLS(t)
	for _, server := range []*redistest.Server{plain, encrypted.Server} {
		for user, more := range map[string][]string{"least": nil, "selects": {"select"}, "named": {"client|setname"}, "both": {"select", "client|setname"}} {
			server.AddUser(user, "pw", "streamlimit:*", slices.Concat(documentedCommands(t), more)...)
		}
		scheme, query := "redis://", "?protocol="
		if server == encrypted.Server {
			scheme, query = "rediss://", "?skip_verify=true&protocol="
		}
		for _, protocol := range []string{"2", "3"} {
			tail := query + protocol
			for url, works := range map[string]bool{
				"least:pw@" + server.Addr + tail:                              true,
				"selects:pw@" + server.Addr + "/3" + tail:                     true,
				"named:pw@" + server.Addr + tail + "&client_name=api":         true,
				"both:pw@" + server.Addr + "/3" + tail + "&client_name=api":   true,
				"named:pw@" + server.Addr + "/3" + tail + "&client_name=api":  false,
				"selects:pw@" + server.Addr + "/3" + tail + "&client_name=ap": false,
			} {
				var log logBuffer
				s, err := Open(scheme+url, WithTimeout(10*time.Second), WithLogger(log.logger()))
				must(t, err)
				if works {
					do(t, server, "FLUSHALL")
					everything(t, s)
					if text := log.String(); text != "" {
						t.Errorf("%s: log %q", url, text)
					}
				}
				must(t, s.Close())
				if denied := server.Denied(); (len(denied) == 0) != works {
					t.Errorf("%s: denied %v, want none: %v", url, denied, works)
				}
				do(t, server, "ACL", "LOG", "RESET")
			}
		}
	}
}

func documentedCommands(t *testing.T) []string {
	t.Helper()
	m := regexp.MustCompile(`(?s)needs the keys streamlimit:\* and the commands (.*?)\.`).FindStringSubmatch(documentation)
	if m == nil {
		t.Fatal("the documentation lists no commands")
	}
	return regexp.MustCompile(`[a-z]+`).FindAllString(strings.NewReplacer("//", " ", "\n", " ", " and", " ").Replace(m[1]), -1)
}
