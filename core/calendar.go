package core

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/calendar"
	"github.com/streamlimit/streamlimit/core/store"
)

// PerCalendarDay admits limit units in each calendar day of a time zone, from midnight to
// midnight. A day on which clocks change has 23 or 25 hours. A day begins with its first
// instant, even where clocks skip midnight. Of two midnights the first counts.
//
// The zone must have a name in the time zone database, since other processes and settings
// files know it by that name. [time.Local] has none. For a machine without the database,
// import time/tzdata in package main. Hosts with different versions of the database can
// disagree on when a period begins. Then the limit holds from each of their beginnings to
// the next, so up to twice the limit can be admitted in a period. What was used before a
// beginning can still count after it. Keep the versions alike.
//
// The store's clock decides whether a period is over. Responses tell clients the time
// until the period ends. PerCalendarDay panics as [Per] does.
func PerCalendarDay(limit int64, loc *time.Location) Limit {
	return perPeriod("PerCalendarDay", limit, calendar.Day, 1, loc)
}

// PerCalendarWeek admits limit units in each calendar week of a time zone. Weeks begin on
// Monday, as in ISO 8601. It panics as [PerCalendarDay] does.
func PerCalendarWeek(limit int64, loc *time.Location) Limit {
	return perPeriod("PerCalendarWeek", limit, calendar.Week, 1, loc)
}

// PerCalendarMonth admits limit units in each calendar month of a time zone. It panics as
// [PerCalendarDay] does.
func PerCalendarMonth(limit int64, loc *time.Location) Limit {
	return perPeriod("PerCalendarMonth", limit, calendar.Month, 1, loc)
}

// PerBillingMonth admits limit units in each month that begins on the given day, from 1 to
// 31. In a month that is too short, the period begins on the last day: with day 31 there
// are periods from January 31 to February 28, and from then to March 31. It panics as
// [PerCalendarDay] does.
func PerBillingMonth(limit int64, day int, loc *time.Location) Limit {
	return perPeriod("PerBillingMonth", limit, calendar.Month, day, loc)
}

func perPeriod(function string, limit int64, unit calendar.Unit, day int, loc *time.Location) Limit {
	text, err := calendar.Text(unit, day, loc)
	l := Limit{Max: limit, Period: text}
	if err == nil {
		err = l.validate()
	}
	if err != nil {
		panic("core: " + function + ": " + err.Error())
	}
	return l
}

// isPeriod reports whether the text after the slash of a limit is meant to be a calendar
// period.
func isPeriod(s string) bool {
	return strings.ContainsAny(s, "@(") || s == "week" || s == "month"
}

// parsePeriod returns the text of a period in the form of String.
func parsePeriod(s string) (string, error) {
	p, err := calendar.Parse(s)
	if err != nil {
		return "", err
	}
	return p.String(), nil
}

func (l Limit) validatePeriod() error {
	text, err := parsePeriod(l.Period)
	switch {
	case err != nil:
		return err
	case text != l.Period:
		return errors.New("write the period as " + strconv.Quote(text))
	case l.Window != 0:
		return errors.New("a limit has a window or a period: leave one out")
	}
	return nil
}

// word returns what distinguishes the limit among those of a policy, in the characters of
// a name: "minute", "5m", "day".
func (l Limit) word() string {
	if l.Period == "" {
		return windowText(l.Window)
	}
	return l.Period[:strings.IndexAny(l.Period, "(@")]
}

// onStore returns the limit in the form for a store, and a duration that is at least as
// long as its window or period.
func (l Limit) onStore() (store.Limit, time.Duration, error) {
	if l.Period == "" {
		return store.Limit{Max: l.Max, Window: l.Window}, l.Window, nil
	}
	p, err := calendar.Parse(l.Period)
	return store.Limit{Max: l.Max, Period: &calendar.Recent{Period: p}}, p.Bound(), err
}

// hasPeriods reports whether a limit of the policy is a calendar limit.
func (p *Policy) hasPeriods() bool {
	return slices.ContainsFunc(p.limits, func(l Limit) bool { return l.Period != "" })
}

// describePeriods completes the description of a log with calendar limits. The log's name
// lists the periods, sorted by text, so that the order of limits does not matter.
func (p *Policy) describePeriods() {
	log := p.log
	log.Layout = store.Calendar
	order := make([]int, 0, len(p.limits))
	for i, l := range p.limits {
		if l.Period != "" {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(p.limits[a].Period, p.limits[b].Period) })
	names := make([]string, 0, len(order)+1)
	if log.Sliding > 0 {
		names = append(names, shortWindow(log.Sliding))
	}
	for _, i := range order {
		log.Periods = append(log.Periods, log.Limits[i].Period)
		names = append(names, p.limits[i].Period)
	}
	log.Name = p.name + ":" + string(log.Layout) + strings.Join(names, ",")
}

var errPeriodsChanged = errors.New("its calendar periods, or the windows beside them, can't be changed after the first decision: restart, or use a policy of another name")

// changesPeriods reports whether two logs differ and one of them has calendar limits. The
// entries of one log say too little to be counted in the other.
func changesPeriods(a, b *store.Log) bool {
	return !a.SameName(b) && (len(a.Periods) > 0 || len(b.Periods) > 0)
}
