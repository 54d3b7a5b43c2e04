package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// table is figures of one unit, a row for each peer.
type table struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	How     string   `json:"how,omitempty"`  // the figures came about, such as of how many rounds
	Over    string   `json:"over,omitempty"` // what the columns are numbers of
	Columns []string `json:"columns"`
	Rows    []row    `json:"rows"`
	Digits  int      `json:"-"` // after the point
	ratios  map[string]float64
	rounds  []int // that figures are medians of
}

type row struct {
	Name   string   `json:"name"`
	Values []figure `json:"values"`
}

// figure is a number, or NaN where there is none.
type figure float64

// MarshalJSON writes null for what is no number.
func (f figure) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(f), 'g', 6, 64), nil
}

// set writes a value in a row and column, which are made when they are new.
func (t *table) set(name, column string, value float64) {
	c := t.column(column)
	r := t.row(name)
	for len(r.Values) <= c {
		r.Values = append(r.Values, figure(math.NaN()))
	}
	r.Values[c] = figure(value)
}

func (t *table) get(name, column string) float64 {
	for _, r := range t.Rows {
		for i, c := range t.Columns {
			if r.Name == name && c == column {
				return r.value(i)
			}
		}
	}
	return math.NaN()
}

func (t *table) column(name string) int {
	for i, c := range t.Columns {
		if c == name {
			return i
		}
	}
	t.Columns = append(t.Columns, name)
	return len(t.Columns) - 1
}

func (t *table) row(name string) *row {
	for i := range t.Rows {
		if t.Rows[i].Name == name {
			return &t.Rows[i]
		}
	}
	t.Rows = append(t.Rows, row{Name: name})
	return &t.Rows[len(t.Rows)-1]
}

// fill writes a column of medians, and remembers the ratios of streamlimit to
// each of the others.
func (t *table) fill(column string, entrants []*entrant, s series) {
	for _, e := range entrants {
		t.set(e.name, column, s.median(e.name))
		t.keep(column, e.name, s.ratio(us, e.name))
		t.median(len(s[e.name]))
	}
}

// median says of how many rounds figures are medians.
func (t *table) median(rounds int) {
	t.rounds = append(t.rounds, rounds)
	least, most := slices.Min(t.rounds), slices.Max(t.rounds)
	t.How = fmt.Sprintf("Medians of %d rounds.", most)
	if least < most {
		t.How = fmt.Sprintf("Medians of %d to %d rounds.", least, most)
	}
}

func (t *table) keep(column, other string, ratio float64) {
	if t.ratios == nil {
		t.ratios = map[string]float64{}
	}
	t.ratios[column+"/"+other] = ratio
}

// ratio is streamlimit's figure to that of another, or NaN.
func (t *table) ratio(column, other string) float64 {
	if r, ok := t.ratios[column+"/"+other]; ok {
		return r
	}
	return math.NaN()
}

func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n\n", t.Title)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "%s\t%s\t\n", t.corner(), strings.Join(t.Columns, "\t"))
	for _, r := range t.Rows {
		fmt.Fprintf(tw, "%s\t", r.Name)
		for i := range t.Columns {
			fmt.Fprintf(tw, "%s\t", t.cell(r, i))
		}
		fmt.Fprintln(tw)
	}
	_ = tw.Flush()
}

// corner is the head of the rows, which says what the columns are.
func (t *table) corner() string {
	if t.Over == "" {
		return ""
	}
	return t.Over + " →"
}

func (t *table) cell(r row, column int) string {
	v := r.value(column)
	if math.IsNaN(v) {
		return "-"
	}
	return strconv.FormatFloat(v, 'f', t.Digits, 64)
}

// value is the one in a column, or NaN.
func (r row) value(column int) float64 {
	if column >= len(r.Values) {
		return math.NaN()
	}
	return float64(r.Values[column])
}
