package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRatio(t *testing.T) {
	s := series{}
	for _, noise := range []float64{1, 100, 3, 1, 2} { // the same for both
		s.add("a", 2*noise)
		s.add("b", 4*noise)
	}
	if r, m := s.ratio("a", "b"), s.median("a"); r != 0.5 || m != 4 {
		t.Errorf("ratio %v, median %v, want 0.5 and 4", r, m)
	}
	if r := s.ratio("a", "nobody"); !math.IsNaN(r) {
		t.Errorf("the ratio to nothing is %v", r)
	}
}

func TestResults(t *testing.T) {
	b := &bench{peers: peers, out: io.Discard, began: time.Now()}
	cpu := table{Name: "cpu", Title: "CPU & more"}
	few := table{Name: "memory", Title: "memory", Over: "requests"}
	entrants := []*entrant{{peer: peer{name: us}}, {peer: peer{name: "redis_rate"}}}
	cpu.fill("warm keys, 64 callers", entrants, series{us: {5, 50}, "redis_rate": {10, 100}})
	for _, requests := range []string{"1", "10", "10000"} {
		few.set(us, requests, 4000)
		few.set("<peer>", requests, math.NaN())
	}
	b.add(cpu, few)
	b.errors("peer", run{done: 10, errors: 5, err: errors.New("failed")})

	goals := b.goals()
	met := map[string]bool{}
	for _, g := range goals {
		met[g.What] = g.Met
	}
	if ok, there := met["Redis CPU a decision, warm keys, 64 callers, against redis_rate"]; !there || !ok {
		t.Errorf("half the CPU is not seen as a goal met: %v", goals)
	}
	if ok, there := met["memory of a client seen once, by a policy named api"]; !there || ok {
		t.Errorf("4000 bytes are not seen as a goal missed: %v", goals)
	}
	if _, there := met["coarse log, against the summed one"]; there {
		t.Error("there is a goal of what was not measured")
	}

	dir := t.TempDir()
	if err := b.result().write(dir); err != nil {
		t.Fatal(err)
	}
	var read struct {
		Tables  []struct{ Rows []struct{ Values []*float64 } }
		Machine machine
		Notes   []string
	}
	data, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	if v := read.Tables[0].Rows[0].Values[0]; v == nil || *v != 27.5 {
		t.Errorf("the data says %v, want 27.5", v)
	}
	if v := read.Tables[1].Rows[1].Values[0]; v != nil {
		t.Errorf("the data says %v where there is no figure", *v)
	}
	if !strings.HasPrefix(read.Machine.Redis, "Redis ") && !strings.HasPrefix(read.Machine.Redis, "Valkey ") || read.Machine.Go == "" {
		t.Errorf("the machine is %+v", read.Machine)
	}
	if len(read.Notes) != 1 || !strings.HasPrefix(read.Notes[0], "peer: 50 % of the requests failed") {
		t.Errorf("notes: %q", read.Notes)
	}
	page, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| memory of a client seen once, by a policy named api | <= 360 B | 4000 B | NO |", // units on both sides
		"| Redis CPU a decision, warm keys, 64 callers, against redis_rate | <= 0.85 | 0.5 | yes |",
		"## CPU & more\n\nMedians of 2 rounds.\n",
		"| requests → | 1 | 10 | 10000 |",
		"![CPU & more](cpu.svg)",
		"## Words",
	} {
		if !strings.Contains(string(page), line+"\n") {
			t.Errorf("the page has no %q:\n%s", line, page)
		}
	}
	pictures, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil || len(pictures) != 2 {
		t.Errorf("pictures: %v, %v", pictures, err)
	}
	for _, name := range pictures {
		wellFormed(t, name)
	}
}

// Each mix of the load and each attack is explained.
func TestWords(t *testing.T) {
	explained := strings.ToLower(strings.Join(strings.Fields(words), " "))
	names := []string{hotKey.name, manyKeys.name, thirdDenied(100).name}
	for _, s := range scenarios {
		name, _, _ := strings.Cut(s.name, ", ")
		names = append(names, name)
	}
	for _, p := range peers {
		if p.module == "" {
			names = append(names, p.name)
		}
	}
	for _, name := range names {
		if !strings.Contains(explained, "**"+strings.ToLower(name)+"**") {
			t.Errorf("%q is not explained", name)
		}
	}
}

func TestReached(t *testing.T) {
	for want, g := range map[string]goal{
		"0.4913": {Reached: 0.49129}, "13.05 B": {Reached: 13.0512, Unit: "B"}, "40649": {Reached: 40649.3},
	} {
		if got := g.reached(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestMedianOfRounds(t *testing.T) {
	var all table
	for _, step := range []struct {
		rounds int
		want   string
	}{{25, "Medians of 25 rounds."}, {5, "Medians of 5 to 25 rounds."}, {7, "Medians of 5 to 25 rounds."}} {
		if all.median(step.rounds); all.How != step.want {
			t.Errorf("after %d rounds: %q, want %q", step.rounds, all.How, step.want)
		}
	}
}

func wellFormed(t *testing.T, name string) {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := xml.NewDecoder(f); ; {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}
