package core

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/streamlimit/streamlimit/core/store"
)

// What is read as a limit is in bounds, and is read as the same from what it
// prints. What is not says what to write.
func FuzzParseLimit(f *testing.F) {
	for _, text := range []string{
		"5/10s", " 100 / minute ", "3/7d", "20/1m30s", "1/1h0m", "1000000000000/720h", "1/0.001s",
		"+5/s", "1/-1d", "9223372036854775808/s", "1/2147483647d", "5/213504d", "1/99999999h", "1/1µs", "1/s/s", "", "/", "١/s",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLimit(text)
		if err != nil {
			advice := []string{"write units/window", "whole number of units", "use at least", "use at most", "use whole milliseconds", "use s, m, h, d", "count in larger units"}
			if !slices.ContainsFunc(advice, func(a string) bool { return strings.Contains(err.Error(), a) }) {
				t.Fatalf("%q: %v, which says not what to write", text, err)
			}
			return
		}
		if l.Max < 1 || l.Max > store.MaxUnits || l.Window < store.MinWindow || l.Window > store.MaxWindow || l.Window%time.Millisecond != 0 {
			t.Fatalf("%q: %+v is out of bounds", text, l)
		}
		again, err := ParseLimit(l.String())
		if err != nil || again != l {
			t.Fatalf("%q is read as %v, which is read as %v, %v", text, l, again, err)
		}
		var unmarshalled Limit
		marshalled, err := l.MarshalText()
		if err == nil {
			err = unmarshalled.UnmarshalText(marshalled)
		}
		if err != nil || unmarshalled != l {
			t.Fatalf("%v marshalled and back: %v, %v", l, unmarshalled, err)
		}
	})
}

// A policy from text has a name that is safe in keys and response fields, each
// window once, and prints as it was read.
func FuzzParsePolicy(f *testing.F) {
	f.Add("search", "20/second, 200/minute")
	f.Add("a.b_c-D9", "1/s,1/m,1/h,1/d,1/2s,1/3s,1/4s,1/5s")
	f.Add("nine", "1/s,1/m,1/h,1/d,1/2s,1/3s,1/4s,1/5s,1/6s")
	f.Add("twice", "1/60s,2/minute")
	f.Add("", "1/s")
	f.Add("{tag}", "1/s")
	f.Add("new\nline", "1/s")
	f.Add(strings.Repeat("n", maxNameLength+1), "1/s")
	f.Add("none", "")
	f.Fuzz(func(t *testing.T, name, list string) {
		p, err := ParsePolicy(name, split(list, ","))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "core: ") {
				t.Fatalf("error %q does not say whose it is", err)
			}
			return
		}
		if p.Name() != name || len(name) > maxNameLength || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
			t.Fatalf("%q: a policy called %q", name, p.Name())
		}
		var printed []string
		windows := map[time.Duration]bool{}
		for _, l := range p.Limits() {
			printed = append(printed, l.String())
			windows[l.Window] = true
		}
		if len(windows) != len(p.limits) || len(p.limits) > store.MaxLimits {
			t.Fatalf("%q: limits %q", list, printed)
		}
		again, err := ParsePolicy(name, printed)
		if err != nil || !again.same(p) || again.log.Name != p.log.Name {
			t.Fatalf("%q is read as %q, which is read as %v, %v", list, printed, again.Limits(), err)
		}
		if log, want := p.log.Name, p.Name()+":"; !strings.HasPrefix(log, want) || strings.ContainsAny(log, "{} \r\n") || !utf8.ValidString(log) {
			t.Fatalf("%q: log name %q", name, log)
		}
	})
}

// split is strings.Split with no part for the empty string.
func split(s, separator string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, separator)
}
