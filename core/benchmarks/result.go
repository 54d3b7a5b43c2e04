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
	Machine  machine           `json:"machine"`
	Goals    []goal            `json:"goals"`
	Tables   []table           `json:"tables"`
	Settings map[string]string `json:"settings"` // what was set of peers beside the limit
	Missing  map[string]string `json:"missing"`  // peers that could not be measured, and why
	Notes    []string          `json:"notes"`
}

func (b *bench) result() result {
	r := result{Machine: thisMachine(), Goals: b.goals(), Tables: b.tables, Settings: map[string]string{}, Missing: missing, Notes: b.notes()}
	for _, p := range b.peers {
		if p.setting != "" {
			r.Settings[p.name] = p.setting
		}
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
	}
	for _, name := range plots {
		fmt.Fprintf(w, "![%s](%s)\n\n", strings.TrimSuffix(name, ".svg"), name)
	}
	for i := range r.Tables {
		r.Tables[i].markdown(w)
	}
	fmt.Fprint(w, "## Versions and settings\n\n")
	for _, path := range slices.Sorted(maps.Keys(r.Machine.Versions)) {
		fmt.Fprintf(w, "- %s %s\n", path, r.Machine.Versions[path])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Settings)) {
		fmt.Fprintf(w, "- %s: %s\n", name, r.Settings[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Missing)) {
		fmt.Fprintf(w, "- not measured: %s, since %s\n", name, r.Missing[name])
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "- %s\n", n)
	}
}

func (t *table) markdown(w io.Writer) {
	fmt.Fprintf(w, "## %s\n\n| | %s |\n|%s\n", t.Title, strings.Join(t.Columns, " | "), strings.Repeat(" ---: |", len(t.Columns)+1))
	for _, r := range t.Rows {
		cells := []string{r.Name}
		for i := range t.Columns {
			cells = append(cells, t.cell(r, i))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
	fmt.Fprintln(w)
}
