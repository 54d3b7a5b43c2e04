package calendar

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

var words = map[string]Unit{"day": Day, "week": Week, "month": Month}

// String returns the period as [Parse] reads it: "day@UTC", "month(15)@Europe/Berlin".
func (p Period) String() string {
	word := "day"
	switch p.Unit {
	case Week:
		word = "week"
	case Month:
		word = "month"
	}
	if p.Day > 1 {
		word += "(" + strconv.Itoa(p.Day) + ")"
	}
	return word + "@" + p.Zone.String()
}

// Parse reads a period such as "day@UTC", "week@Europe/Berlin" or "month(15)@UTC".
func Parse(text string) (Period, error) {
	word, zone, ok := strings.Cut(text, "@")
	if !ok {
		return Period{}, errors.New(`a calendar period needs a time zone: write one such as "month@UTC"`)
	}
	word, anchor, anchored := strings.Cut(word, "(")
	unit := words[word]
	if unit == 0 {
		return Period{}, fmt.Errorf("%q is not a calendar period: use day, week or month", word)
	}
	first := 1
	if anchored {
		digits, closed := strings.CutSuffix(anchor, ")")
		n, err := strconv.Atoi(digits)
		if err != nil || !closed {
			return Period{}, errors.New(`write the day on which a month begins as in "month(15)"`)
		}
		first = n
	}
	switch {
	case anchored && unit != Month:
		return Period{}, fmt.Errorf("a %s has no day on which it begins: only months do", word)
	case first < 1 || first > 31:
		return Period{}, fmt.Errorf(wrongDay, first)
	case unit != Month:
		first = 0
	}
	loc, err := load(zone, time.LoadLocation)
	return Period{Unit: unit, Day: first, Zone: loc}, err
}

// Text returns the text of the period of a unit in a zone. The zone must be known by its
// name, since other processes get the name only.
func Text(unit Unit, day int, loc *time.Location) (string, error) {
	if loc == nil {
		return "", errors.New("nil location: use time.UTC, or one that time.LoadLocation returns")
	}
	if unit == Month && (day < 1 || day > 31) {
		return "", fmt.Errorf(wrongDay, day)
	}
	text := Period{Unit: unit, Day: day, Zone: loc}.String()
	_, err := Parse(text)
	return text, err
}

const wrongDay = "a month can't begin on day %d: use a day from 1 to 31"

// load returns the zone with the given name. find looks the name up in the time zone
// database.
func load(name string, find func(string) (*time.Location, error)) (*time.Location, error) {
	switch name {
	case "":
		return nil, errors.New(`the time zone has no name: write one such as "Europe/Berlin"`)
	case "Local":
		return nil, errors.New(`the time zone "Local" differs between machines: name one such as "Europe/Berlin"`)
	}
	loc, err := find(name)
	if err == nil {
		return loc, nil
	}
	if _, none := find("Europe/Berlin"); none != nil {
		return nil, fmt.Errorf(`no data for the time zone %q: this machine has no zone data, so import time/tzdata in package main`, name)
	}
	return nil, fmt.Errorf(`no data for the time zone %q: use a name such as "Europe/Berlin"; if the zone is new, import time/tzdata in package main`, name)
}
