package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

type board struct {
	Panels []struct {
		ID      int
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr string }
	}
	Templating struct {
		List []struct {
			Name       string
			Definition string
		}
	}
}

func readBoard(t *testing.T) (b board) {
	t.Helper()
	text, err := os.ReadFile("board.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	metricName = regexp.MustCompile(`streamlimit_\w+`)
	resultName = regexp.MustCompile(`result=~?"([^"]*)"`)
	variable   = regexp.MustCompile(`\$([a-z]\w*)`)
	byLabels   = regexp.MustCompile(`by \(([^)]*)\)`)
)

// The board asks for what the service exports, by labels that are there, and
// shows all of it.
func TestBoard(t *testing.T) {
	s := serve(t, core.NewMemory())
	s.traffic()
	metrics, results := map[string]bool{}, map[string]bool{}
	for sample := range s.scrape() {
		name, labels, _ := strings.Cut(sample, "{")
		metrics[name] = false
		if found := resultName.FindStringSubmatch(labels); found != nil {
			results[found[1]] = true
		}
	}
	b := readBoard(t)
	var variables []string
	for _, v := range b.Templating.List {
		variables = append(variables, v.Name)
	}
	ask := func(title, expr string) {
		names := metricName.FindAllString(expr, -1)
		if len(names) == 0 {
			t.Errorf("%s: no metric in %q", title, expr)
		}
		for _, name := range names {
			if _, ok := metrics[name]; !ok {
				t.Errorf("%s: nothing exports %s", title, name)
			}
			metrics[name] = true
		}
		for _, found := range resultName.FindAllStringSubmatch(expr, -1) {
			for result := range strings.SplitSeq(found[1], "|") {
				if !results[result] {
					t.Errorf("%s: there is no result %q", title, result)
				}
			}
		}
		for _, found := range byLabels.FindAllStringSubmatch(expr, -1) {
			for label := range strings.SplitSeq(found[1], ", ") {
				if !slices.Contains([]string{"policy", "result", "le"}, label) {
					t.Errorf("%s: there is no label %q", title, label)
				}
			}
		}
		for _, found := range variable.FindAllStringSubmatch(expr, -1) {
			if !slices.Contains(variables, found[1]) {
				t.Errorf("%s: there is no variable $%s", title, found[1])
			}
		}
	}
	for _, v := range b.Templating.List {
		if v.Definition != "" {
			ask("variable "+v.Name, v.Definition)
		}
	}
	for _, panel := range b.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("%s asks for nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			ask(panel.Title, target.Expr)
		}
	}
	for _, name := range []string{"streamlimit_requests_total", "streamlimit_decision_duration_seconds_bucket", "streamlimit_store_down"} {
		if !metrics[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

func TestBoardLayout(t *testing.T) {
	b := readBoard(t)
	for i, p := range b.Panels {
		at := p.GridPos
		if at.W < 1 || at.H < 1 || at.X+at.W > 24 {
			t.Errorf("%s is at %+v, on a grid of 24", p.Title, at)
		}
		for _, q := range b.Panels[:i] {
			other := q.GridPos
			if p.ID == q.ID || p.Title == q.Title {
				t.Errorf("%s and %s have one ID or title", p.Title, q.Title)
			}
			if at.X < other.X+other.W && other.X < at.X+at.W && at.Y < other.Y+other.H && other.Y < at.Y+at.H {
				t.Errorf("%s lies on %s", p.Title, q.Title)
			}
		}
	}
}
