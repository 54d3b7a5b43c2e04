package core

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

const day = 24 * time.Hour

// Limit admits at most Max units in any interval of length Window. The window slides:
// the limit holds for every interval of that length, not only for aligned ones. A calendar
// limit admits at most Max units in each calendar period instead.
//
// Make one with [Per], [PerSecond], [PerMinute], [PerHour], [PerDay], [PerCalendarDay],
// [PerCalendarWeek], [PerCalendarMonth], [PerBillingMonth] or [ParseLimit]. The zero Limit
// is not valid.
type Limit struct {
	Max    int64         // units, from 1 to 1,000,000,000,000
	Window time.Duration // whole milliseconds, from 1ms to 30 days; 0 for a calendar limit
	Period string        // of a calendar limit, such as "month@Europe/Berlin"; else ""
}

// Per admits limit units in any interval of length window. It panics when the
// limit or the window is out of bounds; use [ParseLimit] for text from users.
func Per(limit int64, window time.Duration) Limit {
	l := Limit{Max: limit, Window: window}
	if err := l.validate(); err != nil {
		panic("core: Per: " + err.Error())
	}
	return l
}

// PerSecond admits limit units in any second. It panics as [Per] does.
func PerSecond(limit int64) Limit { return Per(limit, time.Second) }

// PerMinute admits limit units in any minute. It panics as [Per] does.
func PerMinute(limit int64) Limit { return Per(limit, time.Minute) }

// PerHour admits limit units in any hour. It panics as [Per] does.
func PerHour(limit int64) Limit { return Per(limit, time.Hour) }

// PerDay admits limit units in any 24 hours. It panics as [Per] does.
func PerDay(limit int64) Limit { return Per(limit, day) }

// units are the words for a window that String writes and ParseLimit reads.
var units = []struct {
	window time.Duration
	word   string
	alias  []string
}{
	{time.Second, "second", []string{"s", "sec", "seconds"}},
	{time.Minute, "minute", []string{"m", "min", "minutes"}},
	{time.Hour, "hour", []string{"h", "hours"}},
	{day, "day", []string{"d", "days"}},
}

// ParseLimit reads a limit such as "5/10s", "100/minute", "1000/h", "3/7d" or
// "20/1m30s": units, a slash, and a window, which is s, m, h, d (or second, minute,
// hour, day), a whole number of days, or a Go duration. A calendar limit has a period
// instead: "50/day@UTC", "300/week@Europe/Berlin", "1000000/month@America/New_York", or
// "1000000/month(15)@UTC" for months that begin on the 15th. The error quotes s, and its
// Unwrap returns the cause without s.
func ParseLimit(s string) (Limit, error) {
	l, err := parseLimit(s)
	if err != nil {
		return Limit{}, fmt.Errorf("core: limit %q: %w", s, err)
	}
	return l, nil
}

func parseLimit(s string) (l Limit, err error) {
	count, window, ok := strings.Cut(strings.TrimSpace(s), "/")
	if !ok {
		return l, errors.New(`write units/window, such as "100/minute" or "5/10s"`)
	}
	count = strings.TrimSpace(count)
	if l.Max, err = strconv.ParseInt(count, 10, 64); err != nil {
		return l, fmt.Errorf("%q is not a whole number of units from 1 to %d", count, store.MaxUnits)
	}
	window = strings.TrimSpace(window)
	if isPeriod(window) {
		l.Period, err = parsePeriod(window)
	} else {
		l.Window, err = parseWindow(window)
	}
	if err != nil {
		return l, err
	}
	return l, l.validate()
}

func parseWindow(s string) (time.Duration, error) {
	for _, u := range units {
		if s == u.word {
			return u.window, nil
		}
		for _, a := range u.alias {
			if s == a {
				return u.window, nil
			}
		}
	}
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseInt(n, 10, 64) // the nearest int64 if out of range
		switch {
		case err != nil && !errors.Is(err, strconv.ErrRange):
		case days < 1:
			return 0, fmt.Errorf(tooShort, s)
		case days > int64(store.MaxWindow/day):
			return 0, fmt.Errorf(tooLong, s)
		default:
			return time.Duration(days) * day, nil
		}
	}
	w, err := time.ParseDuration(s)
	if err == nil {
		return w, nil
	}
	// With zeros for its digits, a duration that is only too long is valid.
	zeros := strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return '0'
		}
		return r
	}, s)
	if _, err := time.ParseDuration(zeros); err != nil {
		return 0, errors.New("unknown unit, use s, m, h, d or a Go duration")
	}
	if strings.HasPrefix(s, "-") {
		return 0, fmt.Errorf(tooShort, s)
	}
	return 0, fmt.Errorf(tooLong, s)
}

// What is wrong with a window that is out of bounds.
const (
	tooShort = "a window of %v is too short: use at least 1ms"
	tooLong  = "a window of %v is too long: use at most 30d"
)

func (l Limit) validate() error {
	switch {
	case l.Max < 1:
		return fmt.Errorf("a limit of %d admits nothing: use at least 1 unit", l.Max)
	case l.Max > store.MaxUnits:
		return fmt.Errorf("a limit of %d units is above %d: count in larger units", l.Max, store.MaxUnits)
	case l.Period != "":
		return l.validatePeriod()
	case l.Window < store.MinWindow:
		return fmt.Errorf(tooShort, l.Window)
	case l.Window > store.MaxWindow:
		return fmt.Errorf(tooLong, l.Window)
	case l.Window%time.Millisecond != 0:
		return fmt.Errorf("a window of %v is finer than the log's clock: use whole milliseconds", l.Window)
	}
	return nil
}

// String returns the limit in the form that [ParseLimit] reads: "100/minute", "5/10s",
// "50/day@UTC".
func (l Limit) String() string {
	return strconv.FormatInt(l.Max, 10) + "/" + l.per()
}

// per returns the text of the limit's window or period.
func (l Limit) per() string {
	if l.Period != "" {
		return l.Period
	}
	return windowText(l.Window)
}

// windowText is the shortest text that parseWindow reads back as w.
func windowText(w time.Duration) string {
	for _, u := range units {
		if w == u.window {
			return u.word
		}
	}
	if w >= day && w%day == 0 {
		return strconv.FormatInt(int64(w/day), 10) + "d"
	}
	s := w.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText implements [encoding.TextMarshaler] with the form of String. The zero
// Limit, which a zero [Decision] has, marshals as the empty text.
func (l Limit) MarshalText() ([]byte, error) {
	if l == (Limit{}) {
		return nil, nil
	}
	if err := l.validate(); err != nil {
		return nil, fmt.Errorf("core: limit: %w", err)
	}
	return []byte(l.String()), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler] with [ParseLimit]. The
// empty text is an error, as in ParseLimit.
func (l *Limit) UnmarshalText(text []byte) error {
	parsed, err := ParseLimit(string(text))
	if err != nil {
		return err
	}
	*l = parsed
	return nil
}
