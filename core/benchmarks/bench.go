package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// bench is a run: what was asked for and what was found.
type bench struct {
	quick  bool
	peers  []peer
	out    io.Writer
	tables []table
	failed map[string]failures

	contests []contest

	began    time.Time
	expected time.Duration // of all parts
	due      time.Duration // of the parts up to this one
}

// pick is one of two sizes.
func (b *bench) pick(quick, full int) int {
	if b.quick {
		return quick
	}
	return full
}

// enough reports whether there have been enough rounds: as many as wanted, or two on a
// machine that is slower than expected.
func (b *bench) enough(round, wanted int) bool {
	return round >= wanted || round >= 2 && time.Since(b.began) > b.due
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

// errors counts requests that failed.
func (b *bench) errors(name string, r run) {
	if b.failed == nil {
		b.failed = map[string]failures{}
	}
	f := b.failed[name]
	f.all += int64(r.done)
	f.failed += r.errors
	if f.such == nil {
		f.such = r.err
	}
	b.failed[name] = f
}

// failures are those of a peer's requests.
type failures struct {
	failed, all int64
	such        error
}

// notes are remarks on the figures.
func (b *bench) notes() []string {
	var notes []string
	for _, name := range slices.Sorted(maps.Keys(b.failed)) {
		if f := b.failed[name]; f.failed > 0 {
			notes = append(notes, fmt.Sprintf("%s: %.2g %% of the requests failed, such as: %v", name, float64(f.failed)/float64(f.all)*100, f.such))
		}
	}
	return notes
}
