package policyfile

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/streamlimit/streamlimit/core"
)

// located matches the start of an error about the file p.yaml.
var located = regexp.MustCompile(`^p\.yaml:([1-9][0-9]*): .`)

// longest bounds the length of errors, which quote up to 100 bytes twice, at four
// characters each.
const longest = 1000

// FuzzParse: a file that is written in another way gives the same policies. A file that
// is wrong gives an error of one short line, with the line number in the file.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"",
		"policies: {stocks: 500/minute, search: [20/second, 200/minute]}",
		"# ours\npolicies:\n  stocks: 500/minute\n  search:\n    - '20/second' # burst\n    - \"200/minute\"\n",
		"policies:\n  tokens:\n    limits: [10000/minute]\n    shadow: true\n    header: llm\n    failure: open\n    cost: true\n    refund: 10s\n    slices: 0\n",
		"policies:\n  stocks:\n    limits: 5/1m30s\n    slices: 64\n    refund: false\n",
		"policies: &a {<<: *a, ? stocks : !!str |\n  1/s\n}\n---\n%YAML 1.2\n...\n",
		"\ufeffpolicies:\r\n  \"sto\\u0063ks\": 1/31d\r\n",
		"policies:\n\tstocks: [[1/s, ~], {}, -, 0x10, .inf]\n",
	} {
		f.Add(text)
	}
	known := program()
	f.Fuzz(func(t *testing.T, text string) {
		for _, known := range [][]*core.Policy{nil, known} {
			policies, err := Parse("p.yaml", []byte(text), known...)
			if err != nil {
				e := err.Error()
				at := located.FindStringSubmatch(e)
				if at == nil || len(e) > longest || strings.ContainsFunc(e, func(c rune) bool { return !unicode.IsPrint(c) }) {
					t.Fatalf("error %q", e)
				}
				if line, _ := strconv.Atoi(at[1]); line > 1+strings.Count(text, "\n")+strings.Count(text, "\r") {
					t.Fatalf("error %q for %q, which does not have that line", e, text)
				}
				continue
			}
			// The policies, written in one way, are read as the same policies.
			again, err := Parse("again", []byte(file(policies)), known...)
			if err != nil || show(again) != show(policies) {
				t.Fatalf("%s\nread again: %s, %v", show(policies), show(again), err)
			}
		}
	})
}

// file writes policies as a file.
func file(policies []*core.Policy) string {
	var b strings.Builder
	b.WriteString("policies:")
	if len(policies) == 0 {
		b.WriteString(" {}")
	}
	for _, p := range policies {
		fmt.Fprintf(&b, "\n  %q:\n    limits: [", p.Name())
		for _, l := range p.Limits() {
			fmt.Fprintf(&b, "%v,", l)
		}
		fmt.Fprintf(&b, "]\n    shadow: %v\n    header: %q\n    cost: %v\n", p.Log().Shadow, p.FieldName(), p.Log().VariableCost)
		if mode := p.FailureMode(); mode != "" {
			fmt.Fprintf(&b, "    failure: %v\n", mode)
		}
		if grace := p.Log().Grace; grace > 0 {
			fmt.Fprintf(&b, "    refund: %v\n", grace)
		}
		if s := p.Log().Slice; s != 0 {
			fmt.Fprintf(&b, "    slices: %d\n", (p.Log().Longest+s-1)/s)
		}
		if d := p.Log().Lease; d != 0 {
			fmt.Fprintf(&b, "    lease: %v\n", d)
		}
	}
	return b.String()
}

// FuzzEnviron: a variable and a file with the same limits give the same policy. The error
// names the variable.
func FuzzEnviron(f *testing.F) {
	for _, value := range []string{"", " ", "5/s", "20/second, 200/minute", "20/second\t200/minute\n,", "1/s,1/s", "1/fortnight", "5/s;6/m", "1/s\x00", "\xff"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		lookup := func(name string) (string, bool) {
			if name != "POLICY_SEARCH" {
				return "", false
			}
			return value, true
		}
		policies, err := Environ("POLICY_", lookup, program()...)
		if err != nil {
			if e := err.Error(); !strings.HasPrefix(e, "POLICY_SEARCH: ") || len(e) > longest || strings.ContainsFunc(e, func(c rune) bool { return !unicode.IsPrint(c) }) {
				t.Fatalf("error %q", e)
			}
			return
		}
		if len(policies) == 0 {
			if strings.Trim(value, ", \t\n") != "" {
				t.Fatalf("%q gives neither a policy nor an error", value)
			}
			return
		}
		again, err := Parse("again", []byte(file(policies)), program()...)
		if err != nil || len(policies) != 1 || show(again) != show(policies) {
			t.Fatalf("%q is read as %s, which is read as %s, %v", value, show(policies), show(again), err)
		}
	})
}
