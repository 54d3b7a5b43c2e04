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

func TestPeriods(t *testing.T) {
	for _, test := range []struct{ period, at, start, end string }{
		{"day@UTC", "2026-11-26T09:00:00Z", "2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z"},
		{"day@Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"}, // 23 hours
		{"day@Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"}, // 25 hours
		{"week@UTC", "2026-11-26T09:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"week@UTC", "2027-01-03T23:59:59Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"},
		{"month@UTC", "2028-02-29T09:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
		{"month(31)@UTC", "2027-02-27T23:59:59Z", "2027-01-31T00:00:00Z", "2027-02-28T00:00:00Z"},
		{"month(31)@UTC", "2027-02-28T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z"},
		{"month(30)@UTC", "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-30T00:00:00Z"},
		{"month(15)@UTC", "2027-01-14T23:59:59Z", "2026-12-15T00:00:00Z", "2027-01-15T00:00:00Z"},
		{"day@Asia/Beirut", "2022-03-27T12:00:00Z", "2022-03-26T22:00:00Z", "2022-03-27T21:00:00Z"},      // begins at 01:00
		{"day@America/Havana", "2026-11-01T04:30:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},   // has midnight twice
		{"day@America/St_Johns", "2006-10-29T02:45:00Z", "2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z"}, // back from 00:01
		{"day@Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},     // the 30th is skipped
		{"day@Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
	} {
		p, err := Parse(test.period)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, test.at)
		if err != nil {
			t.Fatal(err)
		}
		start, end := p.Around(at)
		if got := start.UTC().Format(time.RFC3339); got != test.start {
			t.Errorf("%s around %s starts %s, want %s", test.period, test.at, got, test.start)
		}
		if got := end.UTC().Format(time.RFC3339); got != test.end {
			t.Errorf("%s around %s ends %s, want %s", test.period, test.at, got, test.end)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"day@UTC": "day@UTC", "week@Europe/Berlin": "week@Europe/Berlin", "month(1)@UTC": "month@UTC", "month(31)@Etc/GMT+5": "month(31)@Etc/GMT+5",
	} {
		if p, err := Parse(text); err != nil || p.String() != want {
			t.Errorf("Parse(%q) = %v, %v, want %s", text, p, err, want)
		}
	}
	for text, want := range map[string]string{
		"month":            "needs a time zone",
		"year@UTC":         "not a calendar period",
		"day(3)@UTC":       "only months do",
		"month(0)@UTC":     "from 1 to 31",
		"month(32)@UTC":    "from 1 to 31",
		"month(15@UTC":     "month(15)",
		"month()@UTC":      "month(15)",
		"day@":             "no name",
		"day@Local":        "differs between machines",
		"day@Mars/Olympus": "import time/tzdata",
		"day@../UTC":       "import time/tzdata",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v, want %q", text, err, want)
		}
	}
	if _, err := Text(Day, 0, nil); err == nil {
		t.Error("a nil location was accepted")
	}
	if _, err := Text(Day, 0, time.FixedZone("CEST", 7200)); err == nil {
		t.Error("a zone without data was accepted")
	}
}
