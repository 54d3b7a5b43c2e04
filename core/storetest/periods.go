package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// periods: calendar limits, alone and beside limits that slide.
func (h Harness) periods(t *testing.T) {
	t.Run("Day", h.calendarDay)
	t.Run("Refund", h.calendarRefund)
	t.Run("Mixed", h.calendarMixed)
	t.Run("Together", h.calendarTogether)
	t.Run("Hosts", h.calendarHosts)
	t.Run("PropertyHosts", h.hostHistories)
	for name, k := range map[string]periodKind{
		"Property":                {},
		"PropertyMixed":           {sliding: true},
		"PropertyRefunds":         {refunds: true},
		"PropertyMixedRefunds":    {sliding: true, refunds: true},
		"PropertyStepsBack":       {back: true},
		"PropertyMixedStepsBack":  {sliding: true, back: true},
		"PropertyRefundsStepBack": {sliding: true, refunds: true, back: true},
	} {
		t.Run(name, func(t *testing.T) { h.periodHistories(t, k, nil) })
	}
}

// at returns a subject whose clock shows a time.
func (h Harness) at(t testing.TB, text string) *subject {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	s := h.subject(t)
	s.clock.Advance(at.Sub(s.clock.Now()))
	return s
}

func zone(t rapid.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// calendarDay: a day of 23 hours, to the millisecond.
func (h Harness) calendarDay(t *testing.T) {
	s := h.at(t, "2027-03-27T23:00:00Z") // midnight in Berlin, before clocks change
	p := newLog("p", core.PerCalendarDay(2, zone(t, "Europe/Berlin")))
	s.clock.Advance(-ms)
	s.admits(p, "k", 1)
	s.admits(p, "k", 1)
	if u := s.denies(p, "k", 1); u.RetryAfter != ms || u.ResetAfter != ms || u.Limits[0] != (store.LimitUsage{Used: 2, FreeIn: ms}) {
		t.Errorf("a millisecond before midnight: %+v", u)
	}
	s.clock.Advance(ms)
	if u := s.look(p, "k", 1); !u.Allowed || u.Limits[0].Used != 0 || u.ResetAfter != 0 {
		t.Errorf("at midnight: %+v", u)
	}
	s.admits(p, "k", 1)
	if u := s.admits(p, "k", 1); u.ResetAfter != 23*time.Hour || u.Limits[0] != (store.LimitUsage{Used: 2, FreeIn: 23 * time.Hour}) {
		t.Errorf("after midnight: %+v", u)
	}
	s.clock.Advance(22*time.Hour + 59*time.Minute)
	if u := s.denies(p, "k", 1); u.RetryAfter != time.Minute {
		t.Errorf("a minute before the end: %+v", u)
	}
	s.clock.Advance(time.Minute)
	s.admits(p, "k", 1)
}

// calendarRefund: a refund counts in the period of its request, and nowhere else.
func (h Harness) calendarRefund(t *testing.T) {
	s := h.at(t, "2027-01-31T23:00:00Z")
	p := newLog("p", core.PerCalendarMonth(100, time.UTC), core.VariableCost(), core.Refundable(0))
	january := s.admits(p, "k", 80)
	s.refund(p, january, 30)
	s.used(p, 50)
	if err := s.Settle(s.Context(), p, "k", january.Entry, 20); err != nil {
		t.Fatal(err)
	}
	s.used(p, 70)
	s.clock.Advance(2 * time.Hour)
	s.used(p, 0)
	february := s.admits(p, "k", 40)
	if err := s.Settle(s.Context(), p, "k", january.Entry, -50); !errors.Is(err, store.ErrTooLate) {
		t.Errorf("a refund of a request of January in February: %v, want ErrTooLate", err)
	}
	s.used(p, 40)
	s.refund(p, february, 10)
	s.used(p, 30)
	s.clock.Advance(10 * 24 * time.Hour)
	s.refund(p, february, 30)
	s.used(p, 0)
	if err := s.Settle(s.Context(), p, "k", store.EntryID{Time: february.Entry.Time, Total: february.Entry.Total + 1e9}, -1); !errors.Is(err, store.ErrTooLate) {
		t.Errorf("a refund of a request that never was: %v", err)
	}
	if err := s.Reset(s.Context(), p, "k"); err != nil {
		t.Fatal(err)
	}
	s.admits(p, "k", 5)
	if err := s.Settle(s.Context(), p, "k", february.Entry, -1); !errors.Is(err, store.ErrTooLate) {
		t.Errorf("a refund of a request before a reset: %v", err)
	}
	s.used(p, 5)
}

// calendarMixed: limits that slide count across midnight, calendar limits do not.
func (h Harness) calendarMixed(t *testing.T) {
	s := h.at(t, "2027-05-01T23:30:00Z")
	p := newLog("p", core.PerCalendarDay(5, time.UTC), core.PerHour(3))
	for range 3 {
		s.admits(p, "k", 1)
	}
	if u := s.denies(p, "k", 1); u.RetryAfter != time.Hour {
		t.Errorf("the hour is full: %+v", u)
	}
	s.clock.Advance(45 * time.Minute)
	if u := s.denies(p, "k", 1); u.RetryAfter != 15*time.Minute || u.Limits[0].Used != 0 || u.Limits[1].Used != 3 {
		t.Errorf("after midnight: %+v", u)
	}
	s.clock.Advance(15 * time.Minute)
	for range 3 {
		s.admits(p, "k", 1)
	}
	s.clock.Advance(time.Hour)
	s.admits(p, "k", 1)
	s.admits(p, "k", 1)
	if u := s.denies(p, "k", 1); u.RetryAfter != 22*time.Hour+30*time.Minute || u.Limits[0].Used != 5 || u.Limits[1].Used != 2 {
		t.Errorf("the day is full: %+v", u)
	}
}

// calendarTogether: all or nothing, with a log of another layout.
func (h Harness) calendarTogether(t *testing.T) {
	s := h.at(t, "2027-05-01T23:59:00Z")
	day := newLog("day", core.PerCalendarDay(2, time.UTC))
	minute := newLog("minute", core.PerMinute(3))
	both := []store.Charge{{Log: day, Key: "k"}, {Log: minute, Key: "k"}}
	for range 2 {
		if u := s.takeAll(both...); !u[0].Allowed || !u[1].Allowed {
			t.Fatalf("%+v", u)
		}
	}
	if u := s.takeAll(both...); u[0].Allowed || !u[1].Allowed || u[1].Limits[0].Used != 2 {
		t.Errorf("the day is full: %+v", u)
	}
	s.clock.Advance(time.Minute)
	if u := s.takeAll(both...); !u[0].Allowed || u[0].Limits[0].Used != 1 || u[1].Limits[0].Used != 1 {
		t.Errorf("the next day: %+v", u)
	}
}

type periodKind struct{ sliding, refunds, back bool }

// zonesOfInterest change their clocks at midnight, by odd offsets, twice a year, or never.
var zonesOfInterest = []string{
	"UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Asia/Beirut", "Africa/Cairo",
	"America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Chatham", "Africa/Casablanca",
	"America/Asuncion", "Atlantic/Azores", "Pacific/Apia", "Antarctica/Casey",
}

// randomCalendarPolicy has one or two calendar limits, and up to two that slide beside them.
func randomCalendarPolicy(t *rapid.T, k periodKind) *store.Log {
	var options []core.PolicyOption
	known := map[string]bool{}
	for range rapid.IntRange(1, 2).Draw(t, "periods") {
		loc := zone(t, rapid.SampledFrom(zonesOfInterest).Draw(t, "zone"))
		l := core.PerCalendarDay(randomMax(t), loc)
		switch rapid.IntRange(0, 3).Draw(t, "unit") {
		case 1:
			l = core.PerCalendarWeek(randomMax(t), loc)
		case 2:
			l = core.PerCalendarMonth(randomMax(t), loc)
		case 3:
			l = core.PerBillingMonth(randomMax(t), rapid.IntRange(1, 31).Draw(t, "day"), loc)
		}
		if !known[l.Period] {
			known[l.Period] = true
			options = append(options, l)
		}
	}
	if k.sliding {
		for _, w := range rapid.SliceOfNDistinct(rapid.Int64Range(4, 5*24*60), 1, 2, rapid.ID[int64]).Draw(t, "windows") {
			options = append(options, core.Per(randomMax(t), time.Duration(w)*time.Minute))
		}
	}
	if k.refunds {
		options = append(options, core.Refundable(0))
	}
	return newLog("p", append(options, core.VariableCost())...)
}

// admission is a request that was admitted.
type admission struct {
	time    int64 // as recorded
	units   int64 // what it was corrected to
	asked   int64
	id      store.EntryID
	settled bool
}

// calendarModel keeps everything that was admitted on one log.
type calendarModel struct {
	log  *store.Log
	uses []*admission
	last int64 // the log's own time, which never steps back
}

// used is what a limit counts at a time, without what was given back.
func (m *calendarModel) used(l store.Limit, now int64) (units, first int64) {
	from := now - l.Window.Milliseconds() + 1
	if l.Period != nil {
		start, _ := l.Period.Around(time.UnixMilli(now))
		from = start.UnixMilli()
	}
	for _, u := range m.uses {
		if u.time < from {
			continue
		}
		if units == 0 || u.time < first {
			first = u.time
		}
		units += u.units
	}
	return units, first
}

func (m *calendarModel) room(cost, now int64) bool {
	for _, l := range m.log.Limits {
		if used, _ := m.used(l, now); used+cost > l.Max {
			return false
		}
	}
	return true
}

// check compares a usage with the model, and records what was admitted. exact reports
// whether units that were given back count at once for every limit.
func (m *calendarModel) check(u store.Usage, cost, clock int64, took, exact bool) error {
	now := max(clock, m.last)
	fits := m.room(cost, now)
	if u.Allowed && !fits {
		return errors.New("over-admission")
	}
	if exact && fits && !u.Allowed {
		return errors.New("denied in vain")
	}
	entered := u.Allowed && took
	for i, l := range m.log.Limits {
		used, first := m.used(l, now)
		if entered {
			used += cost
		}
		if got := u.Limits[i]; got.Used != used && (exact || l.Period != nil || got.Used < used) {
			return fmt.Errorf("limit %d: used %d, want %d", i, got.Used, used)
		}
		if l.Period != nil && u.Limits[i].Used > 0 {
			_, end := l.Period.Around(time.UnixMilli(now))
			if free := u.Limits[i].FreeIn.Milliseconds(); free != end.UnixMilli()-clock {
				return fmt.Errorf("limit %d: free in %dms, want %dms", i, free, end.UnixMilli()-clock)
			}
		} else if exact && used > 0 && !entered {
			if free := u.Limits[i].FreeIn.Milliseconds(); free != first+l.Window.Milliseconds()-clock {
				return fmt.Errorf("limit %d: free in %dms, want %dms", i, free, first+l.Window.Milliseconds()-clock)
			}
		}
	}
	if wait := u.RetryAfter.Milliseconds(); u.Allowed && wait != 0 {
		return fmt.Errorf("RetryAfter %dms, and it was admitted", wait)
	} else if !u.Allowed && (wait < 1 || !m.room(cost, clock+wait)) {
		return fmt.Errorf("RetryAfter %dms, and then it does not fit", wait)
	} else if !u.Allowed && exact && m.room(cost, max(clock+wait-1, m.last)) {
		return fmt.Errorf("RetryAfter %dms, and a millisecond before it fits", wait)
	}
	if entered {
		m.last = now
		m.uses = append(m.uses, &admission{time: now, units: cost, asked: cost, id: u.Entry})
	}
	return nil
}

// periodHistories compares random histories of calendar limits with a model. For refused,
// see [Degraded].
func (h Harness) periodHistories(t *testing.T, k periodKind, refused func(error) bool) {
	s := h.subject(t)
	histories := 0
	rapid.Check(t, func(t *rapid.T) {
		histories++
		p, key := randomCalendarPolicy(t, k), fmt.Sprint("period-", histories)
		start := time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, 17*365*24*3600e3).Draw(t, "start")) * ms)
		s.clock.Advance(start.Sub(s.clock.Now()))
		m := &calendarModel{log: p}
		now := func() int64 { return s.clock.Now().UnixMilli() }
		ask := func(t *rapid.T, took bool) {
			cost := randomCost(t, p)
			method := s.Peek
			if took {
				method = s.Take
			}
			u, err := method(s.Context(), p, key, cost)
			if expected(err, refused) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := m.check(u, cost, now(), took, !k.refunds || !k.sliding); err != nil {
				t.Fatalf("%s, cost %d, take %v, at %v: %v\n%+v", p.Name, cost, took, s.clock.Now().UTC(), err, u)
			}
		}
		actions := map[string]func(*rapid.T){
			"take":  func(t *rapid.T) { ask(t, true) },
			"again": func(t *rapid.T) { ask(t, true) },
			"burst": func(t *rapid.T) {
				for range rapid.IntRange(2, 6).Draw(t, "burst") {
					ask(t, true)
				}
			},
			"peek": func(t *rapid.T) { ask(t, false) },
			"wait": func(t *rapid.T) {
				s.clock.Advance(time.Duration(rapid.Int64Range(0, 30*3600e3).Draw(t, "wait")) * ms)
			},
			"waitForEdge": func(t *rapid.T) {
				_, end := rapid.SampledFrom(p.Periods).Draw(t, "period").Around(s.clock.Now())
				s.clock.Advance(end.Sub(s.clock.Now()) + time.Duration(rapid.Int64Range(-1, 1).Draw(t, "edge"))*ms)
			},
		}
		if k.refunds {
			actions["settle"] = func(t *rapid.T) {
				if len(m.uses) == 0 {
					return
				}
				u := m.uses[max(0, len(m.uses)-1-rapid.IntRange(0, 5).Draw(t, "request"))]
				if u.settled {
					return
				}
				u.settled = true
				correction := -rapid.Int64Range(1, u.asked).Draw(t, "back")
				if rapid.IntRange(0, 3).Draw(t, "charge") == 0 {
					correction = rapid.Int64Range(1, 20).Draw(t, "more")
				}
				err := s.Settle(s.Context(), p, key, u.id, correction)
				if expected(err, refused) {
					return
				}
				at := max(now(), m.last)
				late := time.Duration(at-u.time) * ms
				counts := correction > 0 || late <= p.Grace && (late <= p.Sliding/2 || slices.ContainsFunc(p.Periods, func(period store.Period) bool {
					start, _ := period.Around(time.UnixMilli(at))
					return u.time >= start.UnixMilli()
				}))
				switch {
				case counts != (err == nil) || err != nil && !errors.Is(err, store.ErrTooLate):
					t.Fatalf("a correction by %d after %v: %v", correction, late, err)
				case err != nil:
				case correction > 0: // units that are charged later count from then on
					m.last = at
					m.uses = append(m.uses, &admission{time: at, units: correction, settled: true})
				default:
					m.last = at
					u.units += correction
				}
			}
		}
		if k.back {
			actions["stepBack"] = func(t *rapid.T) {
				s.clock.Advance(-time.Duration(rapid.Int64Range(1, 3*3600e3).Draw(t, "step")) * ms)
			}
		}
		t.Repeat(actions)
	})
}
