package main

import (
	"fmt"
	"time"

	"github.com/streamlimit/streamlimit/core/monitor"
)

// screen is the content of a terminal: a reading, and the state of the keys.
type screen struct {
	server string
	colour bool

	last    reading // the last reading with a picture
	err     error   // the error of later readings, or nil
	since   time.Time
	waiting *reading // the newest reading while the picture is held

	tab    int
	scroll int
	paused bool
}

// tab is a table. draw writes its rows from a row on, without those scrolled out, and
// returns the number of rows.
type tab struct {
	name string
	draw func(s *screen, f *frame, row int) (lines int)
}

var tabs = []tab{
	{"Policies", (*screen).policies}, {"Keys", (*screen).keys}, {"Processes", (*screen).processes}, {"Rules", (*screen).rules},
}

func newScreen(server string, colour bool) *screen {
	return &screen{server: server, colour: colour}
}

// take shows a reading, or keeps it while the picture is held. It always shows an error
// of Redis.
func (s *screen) take(r reading) {
	if r.err != nil {
		if s.err == nil {
			s.since = r.at
		}
		s.err = r.err
		return
	}
	s.err = nil
	if s.paused {
		s.waiting = &r
		return
	}
	s.last = r
}

// press runs the command of a key, and reports whether it ends the program.
func (s *screen) press(key string) (quit bool) {
	switch key {
	case "q", "Q", "\x03", "\x04":
		return true
	case "\t", "\x1b[C", "\x1bOC", "l":
		s.open(s.tab + 1)
	case "\x1b[Z", "\x1b[D", "\x1bOD", "h":
		s.open(s.tab - 1)
	case "1", "2", "3", "4":
		s.open(int(key[0] - '1'))
	case "\x1b[B", "\x1bOB", "j":
		s.scroll++
	case "\x1b[A", "\x1bOA", "k":
		s.scroll = max(s.scroll-1, 0)
	case "p", "P", " ":
		s.paused = !s.paused
		if !s.paused && s.waiting != nil {
			s.last, s.waiting = *s.waiting, nil
		}
	}
	return false
}

func (s *screen) open(tab int) {
	s.tab, s.scroll = (tab+len(tabs))%len(tabs), 0
}

// head is the first row of the table.
const head = 4

func (s *screen) rows(width, height int) []string {
	draw := func() (*frame, int) {
		f := newFrame(width, height, s.colour)
		return f, tabs[s.tab].draw(s, f, head)
	}
	f, lines := draw()
	if most := max(lines-(height-head-2), 0); s.scroll > most { // the end stays visible
		s.scroll = most
		f, lines = draw()
	}
	s.title(f)
	if hidden := lines - s.scroll - (height - head - 2); hidden > 0 {
		f.put(height-1, max(width-12, 0), 12, faint, fmt.Sprintf("%d more ↓", hidden))
	}
	f.put(height-1, 0, max(width-13, 0), faint, "tab table   ↑↓ scroll   p pause   q quit")
	return f.lines()
}

func (s *screen) title(f *frame) {
	f.put(0, 0, 12, bold, "streamlimit")
	f.put(0, 13, f.width-24, plain, s.server)
	state, look := "", plain
	if !s.last.at.IsZero() {
		state = s.last.at.Format("15:04:05")
	}
	if s.paused {
		state, look = "PAUSED "+state, marked
	}
	f.right(0, max(f.width-15, 0), 15, look, state)
	switch {
	case s.err != nil:
		f.put(1, 0, f.width, red, fmt.Sprintf("since %s %v", s.since.Format("15:04:05"), s.err))
	case s.last.at.IsZero():
		f.put(1, 0, f.width, faint, "reading …")
	default:
		s.totals(f)
	}
	column := 0
	for i, t := range tabs {
		look := faint
		if i == s.tab {
			look = marked
		}
		text := fmt.Sprintf(" %d %s ", i+1, t.name)
		f.put(2, column, len(text), look, text)
		column += len(text) + 1
	}
}

// totals shows the counts of requests. Each request counts once.
func (s *screen) totals(f *frame) {
	var rate monitor.Counts
	if all := s.last.requests; len(all) > 0 {
		rate = all[len(all)-1]
	}
	minute := s.last.picture.Requests
	f.put(1, 0, 18, green, fmt.Sprintf("%d/s allowed", rate.Allowed+rate.ShadowDenied))
	f.put(1, 19, 18, red, fmt.Sprintf("%d/s denied", rate.Denied))
	f.put(1, 38, f.width-38-16, plain, share(minute.Denied, minute.Total())+" denied in a minute")
	f.right(1, max(f.width-15, 0), 15, plain, processes(len(s.last.picture.Processes)))
}

// line returns the row for the n-th line of a table, and whether it is visible.
func (s *screen) line(f *frame, from, n int) (row int, ok bool) {
	row = from + n - s.scroll
	return row, n >= s.scroll && row < f.height-1
}

func processes(n int) string {
	if n == 1 {
		return "1 process"
	}
	return fmt.Sprintf("%d processes", n)
}
