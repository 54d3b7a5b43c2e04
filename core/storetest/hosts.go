package storetest

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/calendar"
	"github.com/streamlimit/streamlimit/core/store"
)

// onHost returns a log as seen by a host whose zone data have another offset from UTC.
func onHost(p *store.Log, unit calendar.Unit, offset time.Duration) *store.Log {
	zone := time.FixedZone("Europe/Berlin", int(offset.Seconds()))
	day := 0
	if unit == calendar.Month {
		day = 1
	}
	host := *p
	host.Periods = []store.Period{&calendar.Recent{Period: calendar.Period{Unit: unit, Day: day, Zone: zone}}}
	host.Limits = []store.Limit{{Max: p.Limits[0].Max, Period: host.Periods[0]}}
	return &host
}

// calendarHosts: for one of two hosts a day begins an hour earlier. From each beginning to
// the next, both together admit the limit.
func (h Harness) calendarHosts(t *testing.T) {
	s := h.at(t, "2027-05-01T21:30:00Z")
	p := newLog("p", core.PerCalendarDay(2, zone(t, "Europe/Berlin")))
	early, late := onHost(p, calendar.Day, 2*time.Hour), onHost(p, calendar.Day, time.Hour)
	full := func(forEarly, forLate time.Duration) {
		t.Helper()
		for _, one := range []struct {
			log  *store.Log
			wait time.Duration
		}{{early, forEarly}, {late, forLate}} {
			if u := s.denies(one.log, "k", 1); u.RetryAfter != one.wait || u.Limits[0].Used != 2 {
				t.Errorf("at %v: %+v, want to wait %v", s.clock.Now().UTC(), u, one.wait)
			}
		}
	}
	s.admits(early, "k", 1)
	s.admits(late, "k", 1)
	full(30*time.Minute, 90*time.Minute)
	s.clock.Advance(30 * time.Minute)
	s.admits(early, "k", 1)
	s.admits(late, "k", 1)
	full(24*time.Hour, time.Hour)
	s.clock.Advance(time.Hour)
	s.admits(late, "k", 1)
	s.admits(early, "k", 1)
	full(23*time.Hour, 24*time.Hour)
	s.clock.Advance(23 * time.Hour)
	s.admits(early, "k", 2)
	full(24*time.Hour, time.Hour)
}

// hostHistories: hosts whose zone data differ never admit more than the limit between two
// times at which a period begins for one of them. Those are all times at which a count can
// begin anew.
func (h Harness) hostHistories(t *testing.T) {
	s := h.subject(t)
	histories := 0
	rapid.Check(t, func(t *rapid.T) {
		histories++
		key := fmt.Sprint("hosts-", histories)
		limit := core.PerCalendarDay(randomMax(t), time.UTC)
		unit := rapid.SampledFrom([]calendar.Unit{calendar.Day, calendar.Week, calendar.Month}).Draw(t, "unit")
		p := newLog("p", limit, core.VariableCost())
		var hosts []*store.Log
		for range rapid.IntRange(2, 3).Draw(t, "hosts") {
			offset := time.Duration(rapid.IntRange(-48, 56).Draw(t, "offset")) * 15 * time.Minute
			hosts = append(hosts, onHost(p, unit, offset))
		}
		start := time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, 17*365*24*3600e3).Draw(t, "start")) * ms)
		s.clock.Advance(start.Sub(s.clock.Now()))
		// begun returns when a period last began for any host.
		begun := func() (last time.Time) {
			for _, host := range hosts {
				if start, _ := host.Periods[0].Around(s.clock.Now()); start.After(last) {
					last = start
				}
			}
			return last
		}
		var since time.Time
		var admitted int64
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				for range rapid.IntRange(1, 4).Draw(t, "burst") {
					cost := randomCost(t, p)
					u, err := s.Take(s.Context(), rapid.SampledFrom(hosts).Draw(t, "host"), key, cost)
					if err != nil {
						t.Fatal(err)
					}
					if last := begun(); !last.Equal(since) {
						since, admitted = last, 0
					}
					if u.Allowed {
						admitted += cost
					}
					if admitted > limit.Max || u.Limits[0].Used < admitted {
						t.Fatalf("%d admitted of %d since %v, and the log has %d", admitted, limit.Max, since.UTC(), u.Limits[0].Used)
					}
				}
			},
			"wait": func(t *rapid.T) {
				s.clock.Advance(time.Duration(rapid.Int64Range(0, 30*3600e3).Draw(t, "wait")) * ms)
			},
			"waitForEdge": func(t *rapid.T) {
				_, end := rapid.SampledFrom(hosts).Draw(t, "host").Periods[0].Around(s.clock.Now())
				s.clock.Advance(end.Sub(s.clock.Now()) + time.Duration(rapid.Int64Range(-1, 1).Draw(t, "edge"))*ms)
			},
		})
	})
}
