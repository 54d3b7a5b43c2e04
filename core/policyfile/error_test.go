package policyfile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

type wrongFile struct{ name, text, want string }

// check checks that each error is one line. It must begin with test.want, or equal it if
// test.want ends with a full stop, which errors don't have.
func check(t *testing.T, tests []wrongFile, known ...*core.Policy) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			policies, err := Parse("p.yaml", []byte(test.text), known...)
			if err == nil {
				t.Fatalf("%s and no error, want %s", show(policies), test.want)
			}
			got := err.Error()
			want, whole := strings.CutSuffix(test.want, ".")
			if !strings.HasPrefix(got, want) || whole && got != want || strings.Contains(got, "\n") || len(got) > 400 {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestWrongFile(t *testing.T) {
	check(t, []wrongFile{
		{"unit", "policies:\n\n\n\n  stocks: 1/s\n  search:\n    20/fortnight\n", `p.yaml:7: search: "20/fortnight": unknown unit, use s, m, h, d or a Go duration.`},
		{"unit in a list", "policies:\n  search:\n    - 20/s\n    - 9/fortnight\n", `p.yaml:4: search: "9/fortnight": unknown unit`},
		{"zone", "policies:\n  stocks: 50/day@Mars/Olympus\n", `p.yaml:2: stocks: "50/day@Mars/Olympus": no data for the time zone "Mars/Olympus": use a name such as "Europe/Berlin"; if the zone is new, import time/tzdata in package main.`},
		{"number alone", "policies:\n  stocks: 500\n", `p.yaml:2: stocks: "500": write units/window`},
		{"fraction", "policies:\n  stocks: 1.5\n", `p.yaml:2: stocks: "1.5": write units/window`},
		{"zero", "policies:\n  stocks: 0/s\n", `p.yaml:2: stocks: "0/s": a limit of 0 admits nothing`},
		{"negative", "policies:\n  stocks: -1/s\n", `p.yaml:2: stocks: "-1/s": a limit of -1 admits nothing`},
		{"long window", "policies:\n  stocks: 1/31d\n", `p.yaml:2: stocks: "1/31d": a window of 31d is too long`},
		{"long text", "policies:\n  stocks: 1/" + strings.Repeat("x", 5000) + "\n", `p.yaml:2: stocks: "1/xxx`},
		{"escapes", `policies: {stocks: "1/s\n\0\u2028"}`, `p.yaml:1: stocks: "1/s\n\x00\u2028": unknown unit`},
		{"two for one window", "policies:\n  stocks: [1/s, 2/s]\n", `p.yaml:2: policy "stocks" has two limits for one window`},
		{"nine limits", "policies:\n  stocks: [1/1s, 1/2s, 1/3s, 1/4s, 1/5s, 1/6s, 1/7s, 1/8s, 1/9s]\n", `p.yaml:2: policy "stocks" has 9 limits: use at most 8.`},
		{"no limit", "policies:\n  stocks: []\n", `p.yaml:2: policy "stocks" has no limit: add one, such as 100/minute.`},
		{"null", "policies:\n  stocks:\n", `p.yaml:2: stocks: write a limit such as 100/minute, a list of them, or settings: limits, concurrency, shadow, `},
		{"nested list", "policies:\n  stocks: [[5/s]]\n", `p.yaml:2: stocks: write a limit such as 100/minute`},
		{"null in a list", "policies:\n  stocks: [5/s, ~]\n", `p.yaml:2: stocks: write a limit such as 100/minute`},
		{"block text", "policies:\n  stocks: |\n    1/s\n", `p.yaml:2: stocks: write a limit such as 100/minute`},
		{"unknown policy", "policies:\n  stocks: 1/s\n  stonks: 1/s\n", `p.yaml:3: unknown policy "stonks": the policies are protected, strict, search, stocks, login, tokens.`},
		{"other case", "policies:\n  Stocks: 1/s\n", `p.yaml:2: unknown policy "Stocks": the policies are protected`},
		{"unknown key", "policies: {}\nlimits: {}\n", `p.yaml:2: unknown setting "limits": the only one is policies.`},
		{"policies twice", "policies: {}\npolicies: {}\n", `p.yaml:2: "policies" is set twice, first in line 1: keep one.`},
		{"twice", "policies:\n  stocks: 1/s\n  stocks: 2/s\n", `p.yaml:3: "stocks" is set twice, first in line 2: keep one.`},
		{"twice in other quotes", "policies:\n  stocks: 1/s\n  \"stocks\": 2/s\n", `p.yaml:3: "stocks" is set twice`},
		{"syntax", "policies:\n  stocks: [1/s\n", `p.yaml:2: `},
		{"indentation", "policies:\n  stocks: 1/s\n search: 2/s\n", `p.yaml:3: `},
		{"tab", "policies:\n\tstocks: 1/s\n", `p.yaml:2: a tab: indent with spaces.`},
		{"tab deeper", "policies:\n  stocks:\n    limits: 1/s\n  \tshadow: true\n", `p.yaml:4: a tab: indent with spaces.`},
		{"tab first", "\tpolicies:\n", `p.yaml:1: a tab: indent with spaces.`},
		{"no space", "policies:\n  stocks:1/s\n", `p.yaml:2: policies: write names with their limits`},
		{"anchor", "policies:\n  stocks: &x 1/s\n", `p.yaml:2: stocks: write a limit`},
		{"anchor on a list", "policies:\n  stocks: &x [1/s]\n", `p.yaml:2: stocks: write a limit`},
		{"anchor on all", "policies: &x {stocks: 1/s}\n", `p.yaml:1: policies: write names`},
		{"alias", "policies:\n  stocks: *x\n", `p.yaml:2: stocks: write a limit`},
		{"tag", "policies:\n  stocks: !!str 1/s\n", `p.yaml:2: stocks: write a limit`},
		{"anchor on a name", "policies:\n  &x stocks: 1/s\n", `p.yaml:2: unknown policy "&"`},
		{"explicit key", "policies:\n  ? stocks\n  : 1/s\n", `p.yaml:2: unknown policy "?"`},
		{"merge", "policies:\n  <<: {stocks: 1/s}\n", `p.yaml:2: unknown policy "<<"`},
		{"empty", "", `p.yaml:1: write policies: {stocks: 500/minute}.`},
		{"comment", "# nothing\n", `p.yaml:1: `},
		{"empty mapping", "{}\n", `p.yaml:1: write policies: {stocks: 500/minute}.`},
		{"list", "- stocks\n", `p.yaml:1: write policies: {stocks: 500/minute}`},
		{"policies as list", "policies:\n  - stocks\n", `p.yaml:2: policies: write names with their limits`},
		{"policies as list of mappings", "policies:\n\n  - app: 1/s\n", `p.yaml:3: policies: write names with their limits`},
		{"policies empty", "policies:\n", `p.yaml:1: policies: write names with their limits`},
		{"two documents", "policies: {}\n---\npolicies: {}\n", `p.yaml:1: 2 YAML documents: write one`},
		{"two documents in another way", "policies: {}\n...\npolicies: {}\n", `p.yaml:1: 2 YAML documents: write one`},
		{"binary", "\x00\x01\xff", `p.yaml:1: byte 0x00 is not text: write YAML in UTF-8.`},
		{"Latin-1", "policies:\n  # \xe9\n", `p.yaml:2: byte 0xe9 is not text`},
		{"UTF-16", "p\x00o\x00l\x00", `p.yaml:1: byte 0x00 is not text`},
	}, program()...)
}

// Errors have the line number that an editor shows, with all line endings and wherever
// comments are.
func TestLineOfErrors(t *testing.T) {
	const comments = "# one\n\n  # two\n"
	for _, text := range []string{
		"policies:\n  stocks: 1/s # three\n\n  # four\n  search:\n    - 20/s\n    # five\n    - @9/fortnight\n",
		"policies:\n  # three\n  stocks: 1/s # four\n  search: @9/fortnight # five\n",
		"policies:\n  stocks:\n    # three\n    limits: 1/s # four\n    # five\n    shadow: @yes\n",
		"policies:\n  stocks:\n    limits: 1/s\n    # three\n\n    @limit: 1/s\n",
		"policies:\n  stocks: \"1/s\"\n  search: [1/s, # three\n   2/m,\n   # four\n   @3/fortnight]\n",
		"policies: # three\n\n  @nope: 1/s\n",
		"policies:\n  stocks: 1/s # three\n  # four\n  @stocks: 2/s\n",
		"policies:\n  stocks: 1/s\n  # three\n\t@search: 2/s\n",
		"policies:\n  # three\n  stocks: '1/s' # four\n@other: {}\n",
		"policies:\n  # three\n  stocks: 1/s\n  # @\x01\n",
		"policies:\n  # three\n  search: @[1/s, 2/s]\n",
	} {
		text = comments + text
		before, _, _ := strings.Cut(text, "@")
		wrong := strings.Replace(text, "@", "", 1)
		want := fmt.Sprintf("p.yaml:%d: ", 1+strings.Count(before, "\n"))
		for _, end := range []string{"\n", "\r\n", "\r"} {
			for _, mark := range []string{"", "\ufeff"} {
				_, err := Parse("p.yaml", []byte(mark+strings.ReplaceAll(wrong, "\n", end)), program()...)
				if err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("%q with lines that end in %q: got %v, want %s", text, end, err, want)
				}
			}
		}
	}
}

func TestWrongSettings(t *testing.T) {
	check(t, []wrongFile{
		{"mapping", "policies:\n  stocks:\n    limit: 5/s\n", `p.yaml:3: stocks: unknown setting "limit": the settings are limits, concurrency, shadow, header, unit, failure, cost, refund, slices, lease.`},
		{"merge", "policies:\n  stocks:\n    <<: {shadow: true}\n", `p.yaml:3: stocks: unknown setting "<<"`},
		{"twice", "policies:\n  stocks:\n    shadow: true\n    limits: 1/s\n    shadow: true\n", `p.yaml:5: stocks: "shadow" is set twice, first in line 3: keep one.`},
		{"limit", "policies:\n  search:\n    shadow: true\n    limits:\n      - 20/fortnight\n", `p.yaml:5: search: "20/fortnight": unknown unit, use s, m, h, d or a Go duration.`},
		{"limits without one", "policies:\n  search:\n    limits: []\n", `p.yaml:3: policy "search" has no limit: add one, such as 100/minute.`},
		{"limits null", "policies:\n  search:\n    limits:\n", `p.yaml:3: search: limits: write a limit such as 100/minute, or a list of them.`},
		{"limits mapping", "policies:\n  search:\n    limits: {a: 1/s}\n", `p.yaml:3: search: limits: write a limit`},
		{"limits alias", "policies:\n  search:\n    limits: *x\n", `p.yaml:3: search: limits: write a limit such as 100/minute, or a list of them; anchors, aliases and tags are not read.`},
		{"shadow yes", "policies:\n  stocks:\n    shadow: yes\n", `p.yaml:3: stocks: shadow: "yes": write true or false.`},
		{"shadow 1", "policies:\n  stocks:\n    shadow: 1\n", `p.yaml:3: stocks: shadow: "1": write true or false.`},
		{"shadow quoted", "policies:\n  stocks:\n    shadow: 'true'\n", `p.yaml:3: stocks: shadow: "true": write true without quotes.`},
		{"shadow anchor", "policies:\n  stocks:\n    shadow: &x true\n", `p.yaml:3: stocks: shadow: write true or false; anchors, aliases and tags are not read.`},
		{"header list", "policies:\n  stocks:\n    header: [a]\n", `p.yaml:3: stocks: header: write the name that response fields give the policy, such as stocks.`},
		{"header empty", "policies:\n  stocks:\n    header: ''\n", `p.yaml:3: stocks: header: "": write the name`},
		{"header true", "policies:\n  stocks:\n    header: true\n", `p.yaml:3: stocks: header: "true": write the name`},
		{"header characters", "policies:\n  stocks:\n    limits: 1/s\n    header: a b\n", `p.yaml:4: stocks: header: name "a b": ' ' is not allowed: use letters, digits, '.', '_' and '-'.`},
		{"header length", "policies:\n  stocks:\n    header: " + strings.Repeat("x", 65) + "\n", `p.yaml:3: stocks: header: name of 65 bytes is too long: use at most 64.`},
		{"unit list", "policies:\n  stocks:\n    unit: [a]\n", `p.yaml:3: stocks: unit: write the name of the policy's units, such as tokens.`},
		{"unit characters", "policies:\n  stocks:\n    limits: 1/s\n    unit: a b\n", `p.yaml:4: stocks: unit: name "a b": ' ' is not allowed: use letters, digits, '.', '_' and '-'.`},
		{"failure", "policies:\n  stocks:\n    failure: opne\n", `p.yaml:3: stocks: failure: "opne": write open, closed or local.`},
		{"failure default", "policies:\n  stocks:\n    failure: default\n", `p.yaml:3: stocks: failure: "default": write open, closed or local.`},
		{"failure true", "policies:\n  stocks:\n    failure: true\n", `p.yaml:3: stocks: failure: "true": write open, closed or local.`},
		{"cost number", "policies:\n  stocks:\n    cost: 5\n", `p.yaml:3: stocks: cost: "5": write true or false.`},
		{"cost that is needed", "policies:\n  tokens:\n    cost: false\n", `p.yaml:3: tokens: cost: the program needs this setting: write true, or leave it out.`},
		{"refund that is needed", "policies:\n  tokens:\n    refund: false\n", `p.yaml:3: tokens: refund: the program needs this setting: write true, or leave it out.`},
		{"refund unit", "policies:\n  stocks:\n    refund: 10\n", `p.yaml:3: stocks: refund: "10": write how long units can be given back, such as 10s or 1m30s, or true for half the longest window.`},
		{"refund zero", "policies:\n  stocks:\n    refund: 0s\n", `p.yaml:3: stocks: refund: "0s": write how long`},
		{"refund negative", "policies:\n  stocks:\n    refund: -5s\n", `p.yaml:3: stocks: refund: "-5s": write how long`},
		{"refund null", "policies:\n  stocks:\n    refund:\n", `p.yaml:3: stocks: refund: write how long`},
		{"refund fine", "policies:\n  stocks:\n    refund: 1us\n", `p.yaml:3: stocks: refund: a grace of 1µs: use whole milliseconds.`},
		{"refund long", "policies:\n  stocks:\n    refund: 31s\n", `p.yaml:3: stocks: refund: a grace of 31s is longer than half the longest window, 30s.`},
		{"refund of the program", "policies:\n  tokens:\n    limits: 5/s\n", `p.yaml:2: tokens: refund: a grace of 20s is longer than half the longest window, 500ms.`},
		{"lease long", "policies:\n  stocks:\n    lease: 1m\n", `p.yaml:3: stocks: lease: 1m0s: use whole milliseconds from 1ms to `},
		{"lease number", "policies:\n  stocks:\n    lease: 5\n", `p.yaml:3: stocks: lease: "5": write how long a process hands out units that it took ahead, such as 1s or 50ms, or 0 for no leases.`},
		{"lease true", "policies:\n  stocks:\n    lease: true\n", `p.yaml:3: stocks: lease: "true": write how long`},
		{"slices one", "policies:\n  stocks:\n    slices: 1\n", `p.yaml:3: stocks: slices: 1 slices: use 2 to 1000, such as 64.`},
		{"slices negative", "policies:\n  stocks:\n    slices: -4\n", `p.yaml:3: stocks: slices: -4 slices: use 2 to 1000, such as 64.`},
		{"slices fraction", "policies:\n  stocks:\n    slices: 6.4\n", `p.yaml:3: stocks: slices: "6.4": write a whole number from 2 to 1000, such as 64, or 0 for none.`},
		{"slices octal", "policies:\n  stocks:\n    slices: 0100\n", `p.yaml:3: stocks: slices: "0100": write a whole number`},
		{"slices hexadecimal", "policies:\n  stocks:\n    slices: 0x40\n", `p.yaml:3: stocks: slices: "0x40": write a whole number`},
		{"slices huge", "policies:\n  stocks:\n    slices: 99999999999999999999\n", `p.yaml:3: stocks: slices: "99999999999999999999": write a whole number`},
		{"slices true", "policies:\n  stocks:\n    slices: true\n", `p.yaml:3: stocks: slices: "true": write a whole number`},
		{"slices of two limits", "policies:\n  search:\n    shadow: true\n    slices: 64\n", `p.yaml:4: search: slices: a coarse log has one limit`},
		{"slices and refund", "policies:\n  tokens:\n    slices: 64\n", `p.yaml:3: tokens: slices: a coarse log can't give back units: use slices or refunds, not both.`},
		{"slices of a short window", "policies:\n  stocks:\n    limits: 5/10ms\n    slices: 64\n", `p.yaml:4: stocks: slices: 64 slices of a window of 10ms are shorter than 1ms: use fewer.`},
	}, program()...)
}

func TestWrongNewPolicies(t *testing.T) {
	check(t, []wrongFile{
		{"no limits", "policies:\n  a:\n    shadow: true\n", `p.yaml:2: policy "a" has no limit: add one, such as 100/minute.`},
		{"nothing", "policies:\n  a: {}\n", `p.yaml:2: policy "a" has no limit`},
		{"name", "policies:\n  a b: 1/s\n", `p.yaml:2: policy name "a b": ' ' is not allowed: use letters, digits, '.', '_' and '-'.`},
		{"no name", "policies:\n  '': 1/s\n", `p.yaml:2: a policy needs a name: use one such as "api".`},
		{"long name", "policies:\n  " + strings.Repeat("x", 65) + ": 1/s\n", `p.yaml:2: policy name of 65 bytes is too long: use at most 64.`},
		{"very long name", "policies:\n  " + strings.Repeat("é", 500) + ": 1/s\n", `p.yaml:2: policy name of 103 bytes is too long`},
		{"merge", "policies:\n  <<: {a: 1/s}\n", `p.yaml:2: policy name "<<": '<' is not allowed`},
		{"alias as name", "policies:\n  *a : 1/s\n", `p.yaml:2: `},
	})
}

func TestUnknownPolicyOfMany(t *testing.T) {
	var known []*core.Policy
	for i := range 40 {
		known = append(known, core.NewPolicy(fmt.Sprintf("policy-%02d", i), core.PerMinute(1)))
	}
	check(t, []wrongFile{
		{"nearest", "policies:\n  Polcy-17: 1/s\n", `p.yaml:2: unknown policy "Polcy-17": the nearest of 40 is policy-17.`},
		{"empty", "policies:\n  '': 1/s\n", `p.yaml:2: unknown policy "": the nearest of 40 is policy-00.`},
	}, known...)
}

// No text up to the largest size may take long, or overflow the stack.
func TestLargeGarbage(t *testing.T) {
	var indented strings.Builder
	for i := 0; indented.Len() < MaxSize; i++ {
		indented.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	texts := []string{indented.String()[:MaxSize]}
	for _, piece := range []string{"[", "- ", "a: b\n", "%a\n", "x", "\xff"} {
		texts = append(texts, strings.Repeat(piece, MaxSize/len(piece)))
	}
	for _, text := range texts {
		start := time.Now()
		_, err := Parse("p.yaml", []byte(text), program()...)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%.20q...: took %v", text, took)
		}
		if err == nil {
			t.Errorf("%.20q...: no error", text)
		} else if e := err.Error(); len(e) > 400 || strings.Contains(e, "\n") {
			t.Errorf("%.20q...: an error of %d bytes: %.100q", text, len(e), e)
		}
	}
}

func TestManyPolicies(t *testing.T) {
	var text strings.Builder
	text.WriteString("policies:\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "  p%d: 5/s\n", i)
	}
	policies, err := Parse("p.yaml", []byte(text.String()))
	if err != nil || len(policies) != 5000 {
		t.Errorf("%d policies, %v", len(policies), err)
	}
	_, err = Parse("p.yaml", []byte(text.String()+strings.Repeat("  x: 5/s\n", 5000)))
	if err == nil || err.Error() != "p.yaml:6668: more than 20000 tokens of YAML up to here: write fewer policies" {
		t.Errorf("got %v", err)
	}
}
