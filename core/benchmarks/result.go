package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// result is all that a run found.
type result struct {
	Machine machine           `json:"machine"`
	Goals   []goal            `json:"goals"`
	Tables  []table           `json:"tables"`
	Peers   []about           `json:"peers"`
	Missing map[string]string `json:"missing"` // peers that could not be measured, and why
	Notes   []string          `json:"notes"`
}

// about is what a reader should know of a peer.
type about struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Atomic  bool   `json:"atomic"`
	Exact   bool   `json:"exact"`
	Setting string `json:"setting,omitempty"`
}

func (b *bench) result() result {
	r := result{Machine: thisMachine(), Goals: b.goals(), Tables: b.tables, Missing: missing, Notes: b.notes()}
	for _, p := range peers {
		r.Peers = append(r.Peers, about{p.name, p.kind, p.atomic, p.exact, p.setting})
	}
	return r
}

// write puts the data, the tables and the plots into a directory.
func (r result) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	files := plots(r)
	files["results.json"] = string(data) + "\n"
	var text strings.Builder
	r.markdown(&text, slices.Sorted(maps.Keys(plots(r))))
	files["README.md"] = text.String()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// markdown is the same for readers.
func (r result) markdown(w io.Writer, plots []string) {
	fmt.Fprintf(w, "# What was measured\n\nMade by `make bench`; only ratios carry over to other machines.\n\n%v\n\n", r.Machine)
	if len(r.Goals) > 0 {
		fmt.Fprint(w, "| goal | wanted | reached | met? |\n| --- | --- | --- | --- |\n")
		for _, g := range r.Goals {
			fmt.Fprintf(w, "| %s | %s | %s | %s |\n", g.What, g.Wanted, g.reached(), g.met())
		}
		fmt.Fprintln(w)
		for _, g := range r.Goals {
			if why := g.why(); why != "" {
				fmt.Fprintf(w, "- Not met, %s: %s.\n", g.What, why)
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, words)
	for _, name := range plots {
		fmt.Fprintf(w, "![%s](%s)\n\n", r.title(strings.TrimSuffix(name, ".svg")), name)
	}
	for i := range r.Tables {
		r.Tables[i].markdown(w)
	}
	fmt.Fprint(w, "## Peers\n\n| | kind | a decision is one step | exact | settings and remarks |\n| --- | --- | --- | --- | --- |\n")
	for _, p := range r.Peers {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", p.Name, p.Kind, yes(p.Atomic), yes(p.Exact), p.Setting)
	}
	fmt.Fprintln(w)
	for _, path := range slices.Sorted(maps.Keys(r.Machine.Versions)) {
		fmt.Fprintf(w, "- %s %s\n", path, r.Machine.Versions[path])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Missing)) {
		fmt.Fprintf(w, "- not measured: %s, since %s\n", name, r.Missing[name])
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "- %s\n", n)
	}
}

// title is that of the table of a name.
func (r result) title(name string) string {
	for i := range r.Tables {
		if r.Tables[i].Name == name {
			return r.Tables[i].Title
		}
	}
	return name
}

func (t *table) markdown(w io.Writer) {
	fmt.Fprintf(w, "## %s\n\n", t.Title)
	if t.How != "" {
		fmt.Fprintf(w, "%s\n\n", t.How)
	}
	fmt.Fprintf(w, "| %s | %s |\n|%s\n", t.corner(), strings.Join(t.Columns, " | "), strings.Repeat(" ---: |", len(t.Columns)+1))
	for _, r := range t.Rows {
		cells := []string{r.Name}
		for i := range t.Columns {
			cells = append(cells, t.cell(r, i))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
	fmt.Fprintln(w)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
