// Package calendar computes calendar periods: the day, the week or the month of a time
// zone in which an instant lies.
package calendar

import "time"

// Unit is the length of a period.
type Unit byte

// The units.
const (
	Day Unit = iota + 1
	Week
	Month
)

// Period is a kind of calendar period, such as the months of Europe/Berlin.
//
// A period starts with the first instant whose local date is at least the date of its
// first day. So the day begins at 01:00 where midnight is skipped, and at the first
// midnight where it is repeated. Periods follow each other without a gap.
type Period struct {
	Unit Unit
	Day  int // the day on which months begin, from 1 to 31; 0 for other units
	Zone *time.Location
}

// Bound returns a duration that is longer than any period of the kind. Some zones had
// days of 27 hours, and a zone that crosses the date line repeats a day.
func (p Period) Bound() time.Duration {
	const day = 24 * time.Hour
	switch p.Unit {
	case Day:
		return 2 * day
	case Week:
		return 8 * day
	default:
		return 32 * day
	}
}

// Around returns the period in which t lies: from start until before end. Both are whole
// seconds.
func (p Period) Around(t time.Time) (start, end time.Time) {
	first := p.firstDay(t)
	start, next := p.begin(first), p.next(first)
	// Where a clock is set back across midnight, t can have a date before that of the
	// period that has begun.
	for end = p.begin(next); !t.Before(end); end = p.begin(next) {
		start, next = end, p.next(next)
	}
	return start, end
}

// date is a calendar date, as midnight of that date in UTC.
type date = time.Time

func dateOf(year int, month time.Month, day int) date {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// firstDay returns the first day of the period that has the local date of t.
func (p Period) firstDay(t time.Time) date {
	year, month, day := t.In(p.Zone).Date()
	switch p.Unit {
	case Day:
		return dateOf(year, month, day)
	case Week:
		today := dateOf(year, month, day)
		return today.AddDate(0, 0, -int(today.Weekday()+6)%7)
	}
	first := p.inMonth(year, month)
	if day < first.Day() {
		return p.inMonth(year, month-1)
	}
	return first
}

// next returns the first day of the period after the one with that first day.
func (p Period) next(first date) date {
	switch p.Unit {
	case Day:
		return first.AddDate(0, 0, 1)
	case Week:
		return first.AddDate(0, 0, 7)
	}
	return p.inMonth(first.Year(), first.Month()+1)
}

// inMonth returns the first day of the period that begins in a month. That is the last day
// of a month that is too short.
func (p Period) inMonth(year int, month time.Month) date {
	last := dateOf(year, month+1, 0)
	return dateOf(last.Year(), last.Month(), min(p.Day, last.Day()))
}

// begin returns the first instant whose local date is at least d. [time.Date] does not
// return that instant where the zone skips or repeats midnight.
func (p Period) begin(d date) time.Time {
	const early = 48 * time.Hour // no zone is that far from UTC
	for from := d.Add(-early); ; {
		local := from.In(p.Zone)
		_, offset := local.Zone()
		midnight := d.Add(-time.Duration(offset) * time.Second)
		_, change := local.ZoneBounds()
		if !change.IsZero() && !change.After(from) {
			// Go ends each year after 365 days where a zone has yearly rules. On the last
			// day of a leap year that is not in the future, and the zone does not change.
			change = from.Add(time.Hour)
		}
		if change.IsZero() || midnight.Before(change) {
			if midnight.Before(from) {
				return from // the change before has skipped midnight
			}
			return midnight
		}
		from = change.UTC()
	}
}
