package core_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
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
