package policyfile

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/streamlimit/streamlimit/core"
)

// reader makes policies from text.
type reader struct {
	name  string         // start of errors: a path or a variable
	known []*core.Policy // one of each name; empty if all valid names are allowed
}

func newReader(name string, known []*core.Policy) *reader {
	return &reader{name: name, known: latest(known)}
}

// at returns an error at a line, or an error without a line for 0.
func (r *reader) at(line int, format string, args ...any) error {
	message := oneLine(fmt.Sprintf(format, args...))
	if line == 0 {
		return fmt.Errorf("%s: %s", r.name, message)
	}
	return fmt.Errorf("%s:%d: %s", r.name, line, message)
}

// oneLine removes characters that would break the line of a log.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, s)
}

// maxShown bounds the bytes of the file's text that an error shows.
const maxShown = 100

// clip shortens text for errors.
func clip(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}

// latest returns the policies. A later policy replaces an earlier one of the same name,
// in the place of the first.
func latest(policies []*core.Policy) []*core.Policy {
	place := make(map[string]int, len(policies))
	var last []*core.Policy
	for _, p := range policies {
		if p == nil || len(p.Limits()) == 0 {
			panic("policyfile: a nil policy: leave it out")
		}
		if i, ok := place[p.Name()]; ok {
			last[i] = p
			continue
		}
		place[p.Name()] = len(last)
		last = append(last, p)
	}
	return last
}
