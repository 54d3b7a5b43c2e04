package documents

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const packages = "https://pkg.go.dev/github.com/streamlimit/streamlimit/"

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	code    = regexp.MustCompile("(?ms)^```.*?^```$")
)

// TestLinks checks every link of every document within the repository: files, headings,
// and on pkg.go.dev packages, headings, examples and declarations.
func TestLinks(t *testing.T) {
	all := documents(t)
	followed := 0
	for name, text := range all {
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			target := m[1] + m[2]
			if documented, ok := strings.CutPrefix(target, packages); ok {
				followed++
				path, anchor, _ := strings.Cut(documented, "#")
				if !declared(t, path, anchor) {
					t.Errorf("%s: %s: there is no such package, heading, example or declaration", name, target)
				}
				continue
			}
			if strings.Contains(target, "://") {
				continue // of others
			}
			followed++
			path, anchor, _ := strings.Cut(target, "#")
			file := name
			if path != "" {
				file = filepath.Join(filepath.Dir(name), path)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s: %s: there is no such file", name, target)
			} else if anchor != "" && !headed(all[file], anchor) {
				t.Errorf("%s: %s: there is no such heading", name, target)
			}
		}
	}
	if followed < 30 {
		t.Errorf("only %d links were found", followed)
	}
}

// headed reports whether a document has the heading that an anchor names.
func headed(text, anchor string) bool {
	for _, m := range heading.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
		kept := strings.Map(func(r rune) rune {
			if r == ' ' {
				return '-'
			}
			if strings.ContainsRune("`.,:;!?'\"()/", r) {
				return -1
			}
			return r
		}, strings.ToLower(m[1]))
		if kept == anchor {
			return true
		}
	}
	return false
}

// declared reports whether pkg.go.dev has the anchor on the page of a package.
func declared(t *testing.T, path, anchor string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, path, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var wanted string
	title, isHeading := strings.CutPrefix(anchor, "hdr-")
	example, isExample := strings.CutPrefix(anchor, "example-")
	switch {
	case anchor == "":
		return len(files) > 0
	case isHeading:
		wanted = `(?m)^// # ` + strings.ReplaceAll(regexp.QuoteMeta(title), "_", `[ ,']+`) + `$`
	case isExample:
		of, suffix, suffixed := strings.Cut(strings.ReplaceAll(example, ".", "_"), "-")
		if suffixed { // pkg.go.dev writes its first letter as a capital
			suffix = "_" + strings.ToLower(suffix[:1]) + suffix[1:]
		}
		wanted = `(?m)^func Example` + of + suffix + `\(`
	default:
		wanted = `(?m)^(func|type) ` + regexp.QuoteMeta(anchor) + `\b`
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") != isExample {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if regexp.MustCompile(wanted).Match(text) {
			return true
		}
	}
	return false
}
