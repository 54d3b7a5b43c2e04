package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// table is figures of one unit, a row for each peer.
type table struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Columns []string `json:"columns"`
	Rows    []row    `json:"rows"`
	Digits  int      `json:"-"` // after the point
	ratios  map[string]float64
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
	fmt.Fprintf(tw, "\t%s\t\n", strings.Join(t.Columns, "\t"))
	for _, r := range t.Rows {
		fmt.Fprintf(tw, "%s\t", r.Name)
		for i := range t.Columns {
			fmt.Fprintf(tw, "%s\t", t.cell(r, i))
		}
		fmt.Fprintln(tw)
	}
	_ = tw.Flush()
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
