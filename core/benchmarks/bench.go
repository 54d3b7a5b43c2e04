package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// bench is a run: what was asked for and what was found.
type bench struct {
	quick  bool
	peers  []peer
	out    io.Writer
	tables []table
	notes  []string

	part     string
	began    time.Time
	expected time.Duration // of all parts
}

// pick is one of two sizes.
func (b *bench) pick(quick, full int) int {
	if b.quick {
		return quick
	}
	return full
}

// step says what is being done, how long the run has taken and what it takes.
func (b *bench) step(format string, args ...any) {
	fmt.Fprintf(b.out, "%5.0f s of about %.0f  %s\n", time.Since(b.began).Seconds(), b.expected.Seconds(), fmt.Sprintf(format, args...))
}

// add prints tables and keeps them.
func (b *bench) add(tables ...table) {
	for i := range tables {
		tables[i].print(b.out)
	}
	fmt.Fprintln(b.out)
	b.tables = append(b.tables, tables...)
}

// table is the one of that name, or an empty one.
func (b *bench) table(name string) *table {
	for i := range b.tables {
		if b.tables[i].Name == name {
			return &b.tables[i]
		}
	}
	return &table{}
}

// note keeps a remark on the figures, once.
func (b *bench) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(b.notes, text) {
		b.notes = append(b.notes, text)
	}
}

// errors notes that requests failed.
func (b *bench) errors(name string, l load, r run) {
	if r.err != nil {
		b.note("%s, %v: requests failed, such as: %v", name, l, r.err)
	}
}
