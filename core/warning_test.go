package core_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// Each code in the source has a section in WARNINGS.md under the heading that
// log lines link to, and each section a code.
func TestWarningsAreExplained(t *testing.T) {
	codes := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, code := range regexp.MustCompile(`= "(STREAMLIMIT_W\d+)"`).FindAllStringSubmatch(string(source), -1) {
			if codes[code[1]] {
				t.Errorf("%s: %s has two meanings", path, code[1])
			}
			codes[code[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("WARNINGS.md")
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	for _, heading := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(string(page), -1) {
		sections = append(sections, heading[1])
		if !codes[heading[1]] {
			t.Errorf("WARNINGS.md explains %q, which nothing logs", heading[1])
		}
		delete(codes, heading[1])
	}
	for code := range codes {
		t.Errorf("WARNINGS.md does not explain %s", code)
	}
	if !slices.IsSorted(sections) || len(sections) != len(slices.Compact(slices.Clone(sections))) {
		t.Errorf("the sections are %v, want each once and in order", sections)
	}
}

func TestWarningLine(t *testing.T) {
	var log lines
	l, _ := newLimiter(t, log.option())
	api, other := core.NewPolicy("api", core.PerMinute(1)), core.NewPolicy("other", core.PerMinute(1))
	for range 3 {
		l.WarnAskedTwice(api)
	}
	const want = `level=WARN msg="streamlimit: a request was counted twice by one policy: its middleware is on the route at two costs, or a handler has passed on a copy of the request" code=STREAMLIMIT_W003 ` +
		`see=https://github.com/streamlimit/streamlimit/blob/main/core/WARNINGS.md#streamlimit_w003 policy=api`
	if got := log.String(); log.count("") != 1 || !strings.Contains(got, want) {
		t.Errorf("log %s, want once %s", got, want)
	}
	if l.WarnAskedTwice(other); log.count("") != 2 || log.count("policy=other") != 1 {
		t.Errorf("log %s, want a line about another policy", log.String())
	}
	var second lines
	another, _ := newLimiter(t, second.option())
	if another.WarnAskedTwice(api); second.count("") != 1 {
		t.Error("another limiter does not warn")
	}
}
