package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestBlockAndExempt(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	becomes := func(key string, reason core.Reason) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			d := s.ask(t, costs, key, 1)
			if d.Reason == reason {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is decided by %v, want %v", key, d.Reason, reason)
			}
		}
	}
	r := tool(t, server, "block", "-network", "198.51.100.77/24")
	r.want(t, exitOK, `198.51.100.0/24 is blocked. To end it: streamlimit rules -delete "block network 198.51.100.0/24"`)
	becomes("198.51.100.9", core.ReasonBlocked)
	tool(t, server, "rules", "-delete", "block network 198.51.100.0/24").want(t, exitOK)
	becomes("198.51.100.9", core.ReasonLimits)

	var rule monitor.Rule
	r = tool(t, server, "exempt", "-network", "192.0.2.1", "-for", "1h", "-json")
	r.want(t, exitOK)
	r.decode(t, &rule)
	if left := time.Until(time.UnixMilli(rule.Until)); rule.Network != "192.0.2.1/32" || rule.Kind != core.RuleExempt || left < 50*time.Minute || left > time.Hour {
		t.Errorf("%+v", rule)
	}
	becomes(client, core.ReasonExempt)

	tool(t, server, "block", "-key", "user=ann", "-for", "1h").want(t, exitOK, "user=ann is blocked until ")
	becomes("user=ann", core.ReasonBlocked)
}

func TestParseNetwork(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"198.51.100.7": "198.51.100.7/32", "198.51.100.7/24": "198.51.100.0/24", "2001:db8::1": "2001:db8::1/128", "fe80::1%eth0": "fe80::1/128", "2001:db8::1/48": "2001:db8::/48",
	} {
		if got, err := parseNetwork(text); err != nil || got != netip.MustParsePrefix(want) {
			t.Errorf("%s is %v, %v; want %s", text, got, err, want)
		}
	}
}

// The digest equals the digest of services, with their secret and without one.
func TestDigestIsTheServices(t *testing.T) {
	t.Setenv("TEST_KEY_SECRET", "pepper")
	for _, c := range []struct {
		args    string
		options []core.Option
	}{
		{"digest", nil},
		{"digest -secret TEST_KEY_SECRET", []core.Option{core.WithKeySecret([]byte("pepper"))}},
	} {
		limiter := core.New(core.NewMemory(), c.options...)
		defer limiter.Close()
		want, err := adapter.CredentialKey(limiter, "x-api-key", "s3cret key ")
		if err != nil {
			t.Fatal(err)
		}
		for _, end := range []string{"", "\n", "\r\n"} {
			r := toolAnswers(t, "s3cret key "+end, strings.Fields(c.args)...)
			if r.code != exitOK || r.out != want+"\n" || r.err != "" {
				t.Errorf("%s: %d, %q, %q; want %s", c.args, r.code, r.out, r.err, want)
			}
		}
	}
	var answer, rotated struct{ Key, Former string }
	toolAnswers(t, "k\n", "digest", "-json").decode(t, &answer)
	if !strings.HasPrefix(answer.Key, "x-api-key=") || answer.Former != "" {
		t.Errorf("%+v", answer)
	}
	// While the secret is rotated, it prints both keys.
	t.Setenv("TEST_KEY_SECRET_FORMER", "salt")
	const both = "digest -secret TEST_KEY_SECRET -former TEST_KEY_SECRET_FORMER"
	toolAnswers(t, "k\n", strings.Fields(both+" -json")...).decode(t, &rotated)
	former := toolAnswers(t, "k\n", strings.Fields("digest -secret TEST_KEY_SECRET_FORMER")...)
	if now := toolAnswers(t, "k\n", strings.Fields("digest -secret TEST_KEY_SECRET")...); now.out != rotated.Key+"\n" || former.out != rotated.Former+"\n" {
		t.Errorf("%+v, want %q and %q", rotated, now.out, former.out)
	}
	if r := toolAnswers(t, "k\n", strings.Fields(both)...); r.out != rotated.Key+"\n"+rotated.Former+"\n" {
		t.Errorf("%q, want the keys of %+v", r.out, rotated)
	}
	toolAnswers(t, "\n", "digest").want(t, exitFailure, "standard input has no credential")
}
