package documents

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
)

const root = "../../.." // of the repository

// documents returns the Markdown files of the repository, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root && d.Name() != ".github":
			return fs.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files["README.md"] == "" {
		t.Fatal("no README.md")
	}
	return files
}

// block is a code block of a document.
type block struct {
	name      string // such as "README.md:12"
	language  string
	fragments []string // the templates of testdata that it is a fragment of
	code      string
}

var fragment = regexp.MustCompile(`^<!-- fragment: ([a-z0-9 ]+) -->$`)

// blocks returns the code blocks of a document.
func blocks(name, text string) (found []block) {
	var previous string
	var open *block
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case open != nil && trimmed == "```":
			found, open = append(found, *open), nil
		case open != nil:
			open.code += line + "\n"
		case strings.HasPrefix(trimmed, "```"):
			open = &block{name: fmt.Sprintf("%s:%d", name, i+1), language: strings.TrimPrefix(trimmed, "```")}
			if m := fragment.FindStringSubmatch(previous); m != nil {
				open.fragments = strings.Fields(m[1])
			}
		}
		previous = trimmed
	}
	return found
}

// source is a Go file made of a block.
type source struct{ name, code string }

// sources returns the files that must compile. A block without a marker stays as it is.
func (b block) sources(t *testing.T) (files []source) {
	t.Helper()
	if len(b.fragments) == 0 {
		if !strings.HasPrefix(b.code, "package ") {
			t.Errorf("%s: not a whole program: write one, or mark the fragment", b.name)
			return nil
		}
		return []source{{b.name, b.code}}
	}
	for _, name := range b.fragments {
		name += ".go.txt"
		wrapper, err := template.New(name).Funcs(template.FuncMap{"join": strings.Join}).ParseFiles(filepath.Join("testdata", name))
		if err != nil {
			t.Errorf("%s: %v", b.name, err)
			continue
		}
		var code bytes.Buffer
		if err := wrapper.Execute(&code, strings.Split(strings.TrimSpace(b.code), "\n")); err != nil {
			t.Errorf("%s: %v", b.name, err)
			continue
		}
		files = append(files, source{b.name + " as " + name, code.String()})
	}
	return files
}

// overlaid makes an overlay with one file in place of this package. Only a go command
// with the flag -overlay sees the overlay. The file uses the modules of the examples.
func overlaid(t *testing.T, s source) (flag, pkg string) {
	t.Helper()
	dir := t.TempDir()
	file := "main.go"
	if strings.Contains(s.code, "func Test") {
		file = "main_test.go"
	}
	content := filepath.Join(dir, file)
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "block", file): content}})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(content, []byte(s.code), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return "-overlay=" + config, "./block"
}

// TestBlocks compiles every Go block of every document, and runs those that are tests.
func TestBlocks(t *testing.T) {
	programs := 0
	for name, text := range documents(t) {
		for _, b := range blocks(name, text) {
			if b.language == "" && strings.Contains(b.code, "streamlimit/core") {
				t.Errorf("%s: a block without a language", b.name)
			}
			if b.language != "go" {
				continue
			}
			for _, s := range b.sources(t) {
				programs++
				t.Run(s.name, func(t *testing.T) {
					flag, pkg := overlaid(t, s)
					if strings.Contains(s.code, "func Test") {
						file := filepath.Join(t.TempDir(), "block.test")
						run(t, s, "go", "test", "-vet=off", flag, "-c", "-o", file, pkg)
						run(t, s, file)
						return
					}
					run(t, s, "go", "build", flag, "-o", os.DevNull, pkg)
				})
			}
		}
	}
	if programs == 0 {
		t.Error("no Go block was found")
	}
}

// run runs a command on a source.
func run(t *testing.T, s source, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, s.code)
	}
}

// TestReadmeIsOnePage keeps the README short, with a whole program on its first screen.
func TestReadmeIsOnePage(t *testing.T) {
	text := documents(t)["README.md"]
	if lines := strings.Count(text, "\n"); lines > 160 || len(text) > 9000 {
		t.Errorf("README.md has %d lines and %d bytes: at most 160 and 9,000", lines, len(text))
	}
	first := slices.IndexFunc(blocks("README.md", text), func(b block) bool { return strings.HasPrefix(b.code, "package main") })
	if first != 0 {
		t.Errorf("the first block of README.md is not a whole program: %d", first)
	}
}
