package service

import (
	"strings"
	"testing"
)

func TestPolicyFile(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"flow", "policies: {stocks: 500/minute, search: [20/second, 200/minute]}", "stocks 500/minute, search 20/second 200/minute"},
		{"block", "# ours\npolicies:\n  stocks: 500/minute\n  search:\n    - 20/second # burst\n    - 200/minute\n", "stocks 500/minute, search 20/second 200/minute"},
		{"quoted", "policies:\n  stocks: '500/minute'\n  search: [\"20/second\", '200/minute']\n", "stocks 500/minute, search 20/second 200/minute"},
		{"list of one", "policies: {stocks: [500/minute]}", "stocks 500/minute, search 10/second 100/minute"},
		{"no change", "policies: {}", "stocks 100/minute, search 10/second 100/minute"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := builtIn()
			if err := p.parse("p.yaml", []byte(test.text)); err != nil {
				t.Fatal(err)
			}
			if got := describe(p); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if !p.Tokens.VariableCost() {
				t.Error("tokens have lost their cost")
			}
		})
	}
}

func TestReplacedTokensKeepTheirCost(t *testing.T) {
	p := builtIn()
	if err := p.parse("p.yaml", []byte("policies: {tokens: 5/s}")); err != nil {
		t.Fatal(err)
	}
	if !p.Tokens.VariableCost() {
		t.Error("a replaced tokens policy takes no cost")
	}
}

func TestWrongPolicyFile(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"unit", "policies:\n\n\n\n  stocks: 1/s\n  search:\n    20/fortnight\n", `p.yaml:7: search: "20/fortnight": unknown unit, use s, m, h, d or a Go duration`},
		{"unit in a list", "policies:\n  search:\n    - 20/s\n    - 9/fortnight\n", `p.yaml:4: search: "9/fortnight": unknown unit`},
		{"number alone", "policies:\n  stocks: 500\n", `p.yaml:2: stocks: "500": write units/window`},
		{"zero", "policies:\n  stocks: 0/s\n", `p.yaml:2: stocks: "0/s": a limit of 0 admits nothing`},
		{"negative", "policies:\n  stocks: -1/s\n", `p.yaml:2: stocks: "-1/s": a limit of -1 admits nothing`},
		{"long window", "policies:\n  stocks: 1/31d\n", `p.yaml:2: stocks: "1/31d": a window of 744h0m0s is too long`},
		{"two for one window", "policies:\n  stocks: [1/s, 2/s]\n", `p.yaml:2: policy "stocks" has two limits for one window`},
		{"no limit", "policies:\n  stocks: []\n", `p.yaml:2: policy "stocks" has no limit`},
		{"null", "policies:\n  stocks:\n", `p.yaml:2: stocks: write a limit such as 100/minute`},
		{"mapping", "policies:\n  stocks:\n    limit: 5/s\n", `p.yaml:2: stocks: write a limit such as 100/minute`},
		{"nested list", "policies:\n  stocks: [[5/s]]\n", `p.yaml:2: stocks: write a limit such as 100/minute`},
		{"unknown policy", "policies:\n  stocks: 1/s\n  stonks: 1/s\n", `p.yaml:3: unknown policy "stonks": there are protected, strict, search, stocks, login, tokens`},
		{"unknown key", "policies: {}\nlimits: {}\n", `p.yaml:2: unknown setting "limits": the only one is policies`},
		{"twice", "policies:\n  stocks: 1/s\n  stocks: 2/s\n", `p.yaml:3: `},
		{"syntax", "policies:\n  stocks: [1/s\n", `p.yaml:2: `},
		{"tab", "policies:\n\tstocks: 1/s\n", `p.yaml:2: `},
		{"anchor", "policies:\n  stocks: &x 1/s\n", `p.yaml:2: stocks: write a limit`},
		{"merge", "policies:\n  <<: {stocks: 1/s}\n", `p.yaml:2: unknown policy "<<"`},
		{"empty", "", `p.yaml:1: write policies: {stocks: 500/minute}`},
		{"comment", "# nothing\n", `p.yaml:1: `},
		{"list", "- stocks\n", `p.yaml:1: write policies: {stocks: 500/minute}`},
		{"policies as list", "policies:\n  - stocks\n", `p.yaml:1: policies: write names with their limits`},
		{"policies empty", "policies:\n", `p.yaml:1: policies: write names with their limits`},
		{"two documents", "policies: {}\n---\npolicies: {}\n", `p.yaml:1: 2 YAML documents: write one`},
		{"binary", "\x00\x01\xff", `p.yaml:1: `},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := builtIn()
			err := p.parse("p.yaml", []byte(test.text))
			if err == nil {
				t.Fatalf("no error, want %s", test.want)
			}
			if got := err.Error(); !strings.HasPrefix(got, test.want) || strings.Contains(got, "\n") {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// describe shows two of the policies.
func describe(p Policies) string {
	text := p.Stocks.Name()
	for _, l := range p.Stocks.Limits() {
		text += " " + l.String()
	}
	text += ", " + p.Search.Name()
	for _, l := range p.Search.Limits() {
		text += " " + l.String()
	}
	return text
}
