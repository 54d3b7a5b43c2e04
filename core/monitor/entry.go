package monitor

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// entryVersion is the version of the entries that this package writes. It changes when
// the meaning of a field changes. A new field does not change it.
const entryVersion = 2

// entry is the publication of one process for one second, as JSON in the feed. It takes
// about 400 bytes. Every ten seconds it has the fields from Top on, and takes 2 kB more.
type entry struct {
	Version  int     `json:"v"`
	Process  string  `json:"id"`
	Host     string  `json:"host"`
	PID      int     `json:"pid"`
	Store    string  `json:"store"`
	Time     int64   `json:"t"`                  // when the second began, Unix milliseconds
	Counts   tallies `json:"counts,omitempty"`   // decisions by policy
	Requests *tally  `json:"requests,omitempty"` // each request counts once
	Routes   tallies `json:"routes,omitempty"`   // requests by route
	P50      float64 `json:"p50"`                // milliseconds, like the next two
	P99      float64 `json:"p99"`
	Down     []Down  `json:"down,omitempty"`

	Top      *Top             `json:"top,omitempty"`
	Near     map[string]int64 `json:"near,omitempty"`
	Policies published        `json:"policies,omitempty"`
}

// published has the traits of policies, by name.
type published map[string]Traits

// UnmarshalJSON leaves out a policy that it can't read: this machine may have no data for
// the time zone of its limits. The rest of the entry counts.
func (p *published) UnmarshalJSON(data []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	*p = make(published, len(all))
	for name, text := range all {
		var t Traits
		if err := json.Unmarshal(text, &t); err == nil {
			(*p)[name] = t
		}
	}
	return nil
}

// Down is a server that does not respond to a process.
type Down struct {
	Server string `json:"server"`
	Since  int64  `json:"since"` // Unix milliseconds
	Error  string `json:"error"`
}

// Traits are the properties of a policy.
type Traits struct {
	Limits     []core.Limit `json:"limits"`
	Layout     string       `json:"layout"` // "counted", "summed", "refunded", "calendar" or "slots"
	Shadow     bool         `json:"shadow"`
	Off        bool         `json:"off,omitempty"`        // switched off by a rule
	Failure    string       `json:"failure"`              // of [core.Limiter.FailureMode]; "default" if the recorder follows no limiter
	Cost       bool         `json:"cost,omitempty"`       // requests may cost more than 1
	Refundable int64        `json:"refundable,omitempty"` // within milliseconds
	Slices     int          `json:"slices,omitempty"`     // of a coarse log
	Lease      int64        `json:"lease,omitempty"`      // milliseconds; see [core.Lease]
	Unit       string       `json:"unit,omitempty"`       // of [core.Unit]; "" for requests, or for units of no name
}

// layoutSlots is the layout of a concurrency policy, whose one limit has the hold as its
// window.
const layoutSlots = "slots"

// traitsOf returns the traits of a policy, by the limiter if there is one.
func traitsOf(p *core.Policy, limiter *core.Limiter) Traits {
	failure := p.FailureMode()
	if limiter != nil {
		failure = limiter.FailureMode(p)
	}
	t := Traits{Limits: p.Limits(), Layout: "summed", Shadow: p.Log().Shadow, Off: p.Mode() == core.ModeOff, Failure: cmp.Or(string(failure), "default"), Cost: p.Log().VariableCost}
	switch p.Log().Layout {
	case store.Counted:
		t.Layout = "counted"
	case store.Refunded:
		t.Layout = "refunded"
	case store.Calendar:
		t.Layout = "calendar"
	case store.Slots:
		t.Layout = layoutSlots
	}
	t.Refundable, t.Lease = p.Log().Grace.Milliseconds(), p.Log().Lease.Milliseconds()
	t.Unit = unitOf(p)
	if slice := p.Log().Slice; slice > 0 {
		t.Slices = int((p.Log().Longest + slice - 1) / slice) // this number makes slices of the same length
	}
	return t
}

// unitOf returns the name of a policy's units, or "" if it says no more than the policy's
// cost.
func unitOf(p *core.Policy) string {
	if unit := p.Unit(); unit != "requests" && unit != "units" {
		return unit
	}
	return ""
}

// Policy returns a policy with these traits. It has the same logs as in the processes
// that published it.
func (t Traits) Policy(name string) (*core.Policy, error) {
	var options []core.PolicyOption
	var longest time.Duration
	for _, l := range t.Limits {
		options = append(options, l)
		longest = max(longest, l.Window)
	}
	if t.Shadow {
		options = append(options, core.Shadow())
	}
	if t.Cost {
		options = append(options, core.VariableCost())
	}
	if t.Refundable > 0 {
		grace := time.Duration(t.Refundable) * time.Millisecond
		if t.Refundable == (longest / 2).Milliseconds() {
			grace = 0 // use the longest possible grace, even when the limits are overridden
		}
		options = append(options, core.Refundable(grace))
	}
	if t.Slices > 0 {
		options = append(options, core.Coarse(t.Slices))
	}
	if t.Lease > 0 {
		options = append(options, core.Lease(time.Duration(t.Lease)*time.Millisecond))
	}
	if t.Unit != "" {
		options = append(options, core.Unit(t.Unit))
	}
	if t.Layout == layoutSlots && len(t.Limits) == 1 {
		return core.ParseConcurrency(name, t.Limits[0].Max, t.Limits[0].Window, options[1:]...)
	}
	return core.ParsePolicy(name, nil, options...)
}

// maxEntry bounds an entry, in bytes.
const maxEntry = 256 << 10

// parseEntry reads an entry of the feed. It returns an error for another version:
// processes of two versions share a feed during a deployment.
func parseEntry(data []byte) (e entry, err error) {
	if len(data) > maxEntry {
		return entry{}, errors.New("monitor: entry of the feed is too long")
	}
	var head struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return entry{}, fmt.Errorf("monitor: read entry: %w", err)
	}
	if head.Version != entryVersion {
		return entry{}, fmt.Errorf("monitor: entry has version %d, not %d", head.Version, entryVersion)
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return entry{}, fmt.Errorf("monitor: read entry: %w", err)
	}
	if e.Process == "" || len(e.Process) > maxProcessID {
		return entry{}, errors.New("monitor: entry has no process")
	}
	none := func(_ string, t *tally) bool { return t == nil }
	maps.DeleteFunc(e.Counts, none)
	maps.DeleteFunc(e.Routes, none)
	e.Down = e.Down[:min(len(e.Down), maxDown)]
	if e.Top != nil {
		e.Top.Allowed = e.Top.Allowed[:min(len(e.Top.Allowed), topKeys)]
		e.Top.Denied = e.Top.Denied[:min(len(e.Top.Denied), topKeys)]
	}
	return e, nil
}

const (
	maxProcessID = 64
	maxDown      = 32 // maximum number of servers that are shown for a process
)
