package calendar

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

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

// The error says what to do on a machine without zone data, and on one whose data lack a
// zone.
func TestZoneData(t *testing.T) {
	missing := func(zones ...string) func(string) (*time.Location, error) {
		return func(name string) (*time.Location, error) {
			if name != "UTC" && (len(zones) == 0 || slices.Contains(zones, name)) { // UTC needs no data
				return nil, errors.New("unknown time zone " + name)
			}
			return time.LoadLocation(name)
		}
	}
	for _, c := range []struct {
		name string
		find func(string) (*time.Location, error)
		want string
	}{
		{"Europe/Berlin", missing(), `no data for the time zone "Europe/Berlin": this machine has no zone data, so import time/tzdata in package main`},
		{"America/Coyhaique", missing("America/Coyhaique"), `no data for the time zone "America/Coyhaique": use a name such as "Europe/Berlin"; if the zone is new, import time/tzdata in package main`},
		{"UTC", missing(), ""},
		{"Europe/Berlin", missing("America/Coyhaique"), ""},
	} {
		loc, err := load(c.name, c.find)
		if c.want == "" && (err != nil || loc.String() != c.name) || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%s: %v, %v, want %q", c.name, loc, err, c.want)
		}
	}
}
