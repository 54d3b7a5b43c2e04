//go:build !race

// With the race detector the walk through all zones takes minutes, and there is nothing to
// race. Without it, make test-alone runs it.

package calendar

import (
	"archive/zip"
	"crypto/sha256"
	"fmt"
	"go/build"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// zones returns the zones of Go's own zone data, those with the same rules once.
func zones(t *testing.T) []*time.Location {
	t.Helper()
	data, err := zip.OpenReader(filepath.Join(build.Default.GOROOT, "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	var all []*time.Location
	known := make(map[[sha256.Size]byte]bool)
	for _, f := range data.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		rules, err := io.ReadAll(r)
		_ = r.Close()
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(rules)
		if known[sum] {
			continue
		}
		known[sum] = true
		loc, err := time.LoadLocationFromTZData(f.Name, rules)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, loc)
	}
	if len(all) < 300 {
		t.Fatalf("the zone data has %d zones, want hundreds", len(all))
	}
	return all
}

// walked holds when the days of a zone begin, found by a walk through all quarters of an
// hour. No zone has changed at another time since 2018.
type walked struct {
	from   int64   // day since 1970
	begins []int64 // of each day from then on, seconds
}

func walk(loc *time.Location, from, until time.Time) walked {
	const quarter, hour, day = 15 * 60, 60 * 60, 24 * 60 * 60
	w := walked{from: from.Unix() / day}
	latest := w.from - 1 // of all local days so far
	for at := from.Unix() - 2*day; at < until.Unix()+2*day; at += quarter {
		_, offset := time.Unix(at, 0).In(loc).Zone()
		today := (at + int64(offset)) / day
		if today <= latest {
			continue
		}
		for ; latest < today; latest++ {
			w.begins = append(w.begins, at)
		}
		at += 18 * hour // no day is shorter
	}
	return w
}

func (w walked) begin(d date) int64 { return w.begins[d.Unix()/(24*60*60)-w.from] }

// Every period of every zone from 2018 to 2035 is what a walk through all instants finds.
func TestAllZones(t *testing.T) {
	from, until := dateOf(2018, 1, 1), dateOf(2036, 1, 1)
	outside := 0
	known := make(map[[sha256.Size]byte]bool)
	for _, loc := range zones(t) {
		w := walk(loc, from, until)
		sum := sha256.Sum256(fmt.Append(nil, w.begins))
		if known[sum] {
			continue // a zone with the same days was checked
		}
		known[sum] = true
		check := func(p Period, first, next date) {
			start, end := w.begin(first), w.begin(next)
			for _, at := range []int64{start, end - 1} {
				if at < start || at >= end {
					continue // the zone skips the day
				}
				s, e := p.Around(time.Unix(at, 999))
				if s.Unix() != start || e.Unix() != end {
					t.Fatalf("%v around %v: from %v to %v, want %v to %v", p, time.Unix(at, 0).In(loc), s.In(loc), e.In(loc), time.Unix(start, 0).In(loc), time.Unix(end, 0).In(loc))
				}
			}
			if length := time.Duration(end-start) * time.Second; length >= p.Bound() {
				t.Fatalf("%v: a period of %v, want less than %v", p, length, p.Bound())
			}
		}
		moved := false
		for d := from.AddDate(0, 0, 7); d.Before(until.AddDate(0, 0, -40)); d = d.AddDate(0, 0, 1) {
			check(Period{Unit: Day, Zone: loc}, d, d.AddDate(0, 0, 1))
			if d.Weekday() == time.Monday {
				check(Period{Unit: Week, Zone: loc}, d, d.AddDate(0, 0, 7))
			}
			y, m, day := d.Date()
			if midnight := time.Date(y, m, day, 0, 0, 0, 0, loc); midnight.Unix() != w.begin(d) {
				moved = true
			}
			if day != 1 {
				continue
			}
			for _, anchor := range []int{1, 2, 15, 28, 29, 30, 31} {
				clamped := func(m time.Month) date {
					return dateOf(y, m, min(anchor, dateOf(y, m+1, 0).Day()))
				}
				if m < time.December {
					check(Period{Unit: Month, Day: anchor, Zone: loc}, clamped(m), clamped(m+1))
				}
			}
		}
		if moved {
			outside++
		}
	}
	t.Logf("time.Date does not return the beginning of a day in %d zones", outside)
	if outside == 0 {
		t.Error("no zone skips or repeats midnight: the test misses its subject")
	}
}
