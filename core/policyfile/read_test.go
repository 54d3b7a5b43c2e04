package policyfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// program returns the policies of a program.
func program() []*core.Policy {
	return []*core.Policy{
		core.NewPolicy("protected", core.Per(10, time.Minute)),
		core.NewPolicy("strict", core.Per(5, 10*time.Second)),
		core.NewPolicy("search", core.PerSecond(10), core.PerMinute(100)),
		core.NewPolicy("stocks", core.PerMinute(100)),
		core.NewPolicy("login", core.PerMinute(5)),
		core.NewPolicy("tokens", core.PerMinute(10_000), core.VariableCost(), core.Refundable(20*time.Second)),
	}
}

// show returns all policies in one line.
func show(policies []*core.Policy) string {
	texts := make([]string, len(policies))
	for i, p := range policies {
		texts[i] = p.Name() + ": " + describe(p)
	}
	return strings.Join(texts, "; ")
}

func TestChangesToThePoliciesOfTheProgram(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"flow", "policies: {stocks: 500/minute, search: [20/second, 200/minute]}", "stocks: 500/minute; search: 20/second, 200/minute"},
		{"JSON", `{"policies":{"stocks":"500/minute","login":{"limits":["1/s"],"shadow":true}}}`, "stocks: 500/minute; login: 1/second, shadow"},
		{"block", "# ours\npolicies:\n  stocks: 500/minute\n  search:\n    - 20/second # burst\n    - 200/minute\n", "stocks: 500/minute; search: 20/second, 200/minute"},
		{"quoted", "policies:\n  stocks: '500/minute'\n  search: [\"20/second\", '200/minute']\n", "stocks: 500/minute; search: 20/second, 200/minute"},
		{"list of one", "policies: {stocks: [500/minute]}", "stocks: 500/minute"},
		{"no change", "policies: {}", ""},
		{"CRLF and a byte order mark", "\ufeffpolicies:\r\n  stocks: 500/minute\r\n  login: 1/s\r\n", "stocks: 500/minute; login: 1/second"},
		{"document marks", "---\npolicies: {stocks: 500/minute}\n...\n", "stocks: 500/minute"},
		{"all settings", "policies:\n  stocks:\n    limits: 500/minute\n    shadow: true\n    header: shares\n    failure: local\n    cost: true\n    slices: 60\n",
			"stocks: 500/minute, shadow, header shares, failure local, cost, slices of 1s"},
		{"its limits stay", "policies: {search: {shadow: true, failure: open}}", "search: 10/second, 100/minute, shadow, failure open"},
		{"nothing set", "policies: {search: {}}", "search: 10/second, 100/minute"},
		{"cost and refund stay", "policies: {tokens: 5/m}", "tokens: 5/minute, cost, refund 20s"},
		{"with settings too", "policies: {tokens: {limits: [5/s, 9/m], shadow: false}}", "tokens: 5/second, 9/minute, cost, refund 20s"},
		{"another refund", "policies: {tokens: {refund: 1m30s, limits: 100/h}}", "tokens: 100/hour, cost, refund 1m30s"},
		{"the longest refund", "policies: {tokens: {refund: true, limits: 100/h}}", "tokens: 100/hour, cost, refund 30m0s"},
		{"off that was off", "policies: {stocks: {cost: false, refund: false, slices: 0, shadow: false}}", "stocks: 100/minute"},
	} {
		t.Run(test.name, func(t *testing.T) {
			policies, err := Parse("p.yaml", []byte(test.text), program()...)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(policies); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestSettingsOfTheProgramCanBeTurnedOff(t *testing.T) {
	known := core.NewPolicy("api", core.PerMinute(100), core.Shadow(), core.Coarse(60), core.FieldName("a"), core.OnStoreFailure(core.FailOpen))
	policies, err := Parse("p.yaml", []byte("policies: {api: {shadow: false, slices: 0, header: api, failure: closed}}"), known)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(policies), "api: 100/minute, failure closed"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNewPolicies(t *testing.T) {
	policies, err := Parse("p.yaml", []byte(`policies:
  b: 1/s
  a.x_y-Z:
    limits: [5/10s, 3/7d]
    cost: true
    refund: true
  "123":
    limits: 1000/m
    slices: 10
    refund: false
    cost: false
`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(policies), "b: 1/second; a.x_y-Z: 5/10s, 3/7d, cost, refund 84h0m0s; 123: 1000/minute, slices of 6s"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTheLastOfKnownPoliciesCounts(t *testing.T) {
	known := append(program(), core.NewPolicy("stocks", core.PerMinute(1), core.Shadow()))
	policies, err := Parse("p.yaml", []byte("policies: {stocks: 7/m}"), known...)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(policies), "stocks: 7/minute, shadow"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policies.yaml")
	_, err := Read(path)
	if want := "policyfile: " + path + ": no such file or directory"; !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
		t.Errorf("a missing file: %v, want %s", err, want)
	}
	dir := t.TempDir()
	if _, err := Read(dir); err == nil || err.Error() != "policyfile: "+dir+": is a directory" {
		t.Errorf("a directory: %v", err)
	}
	write(t, path, "policies: {a: 1/s}\n")
	policies, err := Read(path)
	if err != nil || show(policies) != "a: 1/second" {
		t.Errorf("got %s, %v", show(policies), err)
	}
	write(t, path, "policies: {a: 1/s}\n"+strings.Repeat("#\n", MaxSize/2))
	if _, err = Read(path); err == nil || err.Error() != path+":1: larger than 1 MiB: write fewer policies" {
		t.Errorf("a large file: %v", err)
	}
}

// The file in the package documentation is valid.
func TestDocumentation(t *testing.T) {
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(source), "//\tpolicies:\n")
	text, _, _ = strings.Cut("//\tpolicies:\n"+text, "//\n")
	policies, err := Parse("doc.go", []byte(strings.ReplaceAll(text, "//\t", "")))
	if err != nil {
		t.Fatal(err)
	}
	want := "stocks: 500/minute; search: 20/second, 200/minute; " +
		"tokens: 10000/minute, shadow, header llm, unit tokens, failure open, cost, refund 10s; gateway: 100000/minute, lease 1s; downloads: 1000000/day, slices of 22m30s; quota: 1000000/month(15)@Europe/Berlin; uploads: 5 in flight, hold 30s"
	if got := show(policies); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNilPolicyPanics(t *testing.T) {
	defer func() {
		if got := recover(); got != "policyfile: a nil policy: leave it out" {
			t.Errorf("panic %v", got)
		}
	}()
	_, _ = Parse("p.yaml", nil, nil)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
