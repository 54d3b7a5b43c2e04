package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

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
	labelValue = regexp.MustCompile(`(result|source)=~?"([^"]*)"`)
	variable   = regexp.MustCompile(`\$([a-z]\w*)`)
	byLabels   = regexp.MustCompile(`by \(([^)]*)\)`)
)

// lease is the source of decisions by a policy with leases. The service has no such
// policy.
const lease = "lease"

// exported has the metrics of the service, after requests of all kinds.
type exported struct {
	metrics map[string]bool            // and whether they were asked for
	values  map[string]map[string]bool // of the labels result and source
}

func export(t *testing.T) exported {
	t.Helper()
	s := serve(t, core.NewMemory())
	s.traffic()
	e := exported{map[string]bool{}, map[string]map[string]bool{"result": {}, "source": {lease: true, "redis": true}}}
	for sample := range s.scrape() {
		name, labels, _ := strings.Cut(sample, "{")
		e.metrics[name] = false
		for _, found := range labelValue.FindAllStringSubmatch(labels, -1) {
			e.values[found[1]][found[2]] = true
		}
	}
	return e
}

// ask checks that an expression is valid PromQL on exported metrics.
func (e exported) ask(t *testing.T, title, expr string, labels ...string) {
	t.Helper()
	names := metricName.FindAllString(expr, -1)
	if len(names) == 0 {
		t.Errorf("%s: no metric in %q", title, expr)
	}
	for _, name := range names {
		if _, ok := e.metrics[name]; !ok {
			t.Errorf("%s: nothing exports %s", title, name)
		}
		e.metrics[name] = true
	}
	for _, found := range labelValue.FindAllStringSubmatch(expr, -1) {
		for value := range strings.SplitSeq(found[2], "|") {
			if !e.values[found[1]][value] {
				t.Errorf("%s: there is no %s %q", title, found[1], value)
			}
		}
	}
	for _, found := range byLabels.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(found[1], ", ") {
			if !slices.Contains(append(labels, "policy", "result", "source", "le"), label) {
				t.Errorf("%s: there is no label %q", title, label)
			}
		}
	}
}

// The board uses only exported metrics and labels, and shows all metrics.
func TestBoard(t *testing.T) {
	e := export(t)
	b := readBoard(t)
	var variables []string
	for _, v := range b.Templating.List {
		variables = append(variables, v.Name)
		if v.Definition != "" {
			e.ask(t, "variable "+v.Name, v.Definition)
		}
	}
	for _, panel := range b.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("%s asks for nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			e.ask(t, panel.Title, target.Expr)
			for _, found := range variable.FindAllStringSubmatch(target.Expr, -1) {
				if !slices.Contains(variables, found[1]) {
					t.Errorf("%s: there is no variable $%s", panel.Title, found[1])
				}
			}
			filled := strings.NewReplacer("$__rate_interval", "5m", "$policy", ".*").Replace(target.Expr)
			if _, err := parser.ParseExpr(filled); err != nil {
				t.Errorf("%s: %v", panel.Title, err)
			}
		}
	}
	for _, name := range []string{
		"streamlimit_requests_total", "streamlimit_units_total", "streamlimit_decision_duration_seconds_bucket", "streamlimit_store_down",
		"streamlimit_slots_lost_total",
	} {
		if !e.metrics[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// The alerts are valid Prometheus rules on exported metrics.
func TestAlerts(t *testing.T) {
	e := export(t)
	text, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules, errs := rulefmt.Parse(text, false, model.UTF8Validation)
	for _, err := range errs {
		t.Error(err)
	}
	if len(errs) > 0 {
		t.FailNow()
	}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			e.ask(t, rule.Alert, rule.Expr, "instance") // the label of a scrape
			if rule.Alert == "" || rule.For == 0 || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s lacks a name, time, severity, summary or description", rule.Alert)
			}
		}
	}
	for _, name := range []string{"streamlimit_requests_total", "streamlimit_decision_duration_seconds_bucket", "streamlimit_store_down", "streamlimit_slots_lost_total"} {
		if !e.metrics[name] {
			t.Errorf("no alert is on %s", name)
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
