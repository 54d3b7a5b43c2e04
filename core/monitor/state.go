package monitor

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// state is the response of api/state.
type state struct {
	Now       int64     `json:"now"`
	ReadOnly  bool      `json:"readOnly"`
	Source    string    `json:"source"`
	Alone     *alone    `json:"alone,omitempty"`
	Processes []Process `json:"processes"`
	Requests  Counts    `json:"requests"`
	Policies  []Policy  `json:"policies"`
	Rules     []Rule    `json:"rules"`               // at most maxRules of them
	MoreRules int       `json:"moreRules,omitempty"` // the number of other rules
}

// alone reports that the other processes can't be seen, since reading the feed fails. The
// figures since then are this process's own.
type alone struct {
	Since  int64 `json:"since"`  // when they were last seen, in Unix milliseconds; 0 for never
	Others int   `json:"others"` // the number of processes seen within the hour before
}

// stateTime bounds how long the state waits for the store, twice. After six seconds
// without an event the page reports that its connection is lost.
const stateTime = 2 * time.Second

// known caches the state. Many viewers then cost the store as much as one.
type known struct {
	at    time.Time
	state state

	rules   []Rule    // all rules of the last read, by ID
	rulesAt time.Time // time of the next read
}

const (
	// maxRules bounds the rules in the state. A store can have [store.MaxRules].
	maxRules = 300

	// rulesShare bounds the time for reading all rules. The next read is this many times
	// the duration of a read later. Reading 100,000 rules takes 0.2 s.
	rulesShare = 20
)

// now returns the state, or a recent one from the cache.
func (h *Handler) now(ctx context.Context) state {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.known.at) < freshness {
		return h.known.state
	}
	// Without the store the state has this process's own numbers, and the rules of the
	// last read.
	h.look(ctx)
	h.readRules(ctx)
	pic := h.recorder.picture.show(h.clock().now().UnixMilli())
	pic.takeTraits(h.limiter)
	rules := h.shownRules(pic.Now.UnixMilli())
	overridden := make(map[string]bool)
	for _, r := range h.known.rules {
		if r.Kind == core.RuleOverride {
			overridden[r.Policy] = true
		}
	}
	for i := range pic.Policies {
		p := &pic.Policies[i]
		p.Overridden = overridden[p.Name]
	}
	h.known.state = state{
		Now: pic.Now.UnixMilli(), ReadOnly: h.readOnly, Source: h.recorder.store, Alone: h.alone(pic.Processes),
		Processes: pic.Processes, Requests: pic.Requests, Policies: pic.Policies, Rules: rules, MoreRules: len(h.known.rules) - len(rules),
	}
	h.known.at = time.Now()
	return h.known.state
}

// look reads new entries of the other processes, if the store responds in time.
func (h *Handler) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	_, _ = h.reader.catchUp(ctx) // alone shows a failure
}

// readRules reads the rules, unless they were read recently. The caller holds h.mu.
func (h *Handler) readRules(ctx context.Context) {
	begun := time.Now()
	if begun.Before(h.known.rulesAt) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	rules, err := h.limiter.Rules(ctx)
	if err != nil {
		return
	}
	h.known.rules = make([]Rule, len(rules))
	for i, r := range rules {
		h.known.rules[i] = ShowRule(r)
	}
	h.known.rulesAt = time.Now()
	if len(rules) > maxRules {
		h.known.rulesAt = h.known.rulesAt.Add(rulesShare * time.Since(begun))
	}
}

// shownRules returns the rules that the page shows: the rules on policies, then the rules
// on the keys that it shows, then others up to the maximum. The caller holds h.mu.
func (h *Handler) shownRules(now int64) []Rule {
	if len(h.known.rules) <= maxRules {
		return append([]Rule{}, h.known.rules...)
	}
	top := h.top(now)
	listed := make(map[string]bool)
	for _, k := range slices.Concat(top.Allowed, top.Denied) {
		listed[k.Key] = true
	}
	var ofPolicies, ofListed, others []Rule
	for _, r := range h.known.rules {
		switch {
		case r.Policy != "":
			ofPolicies = append(ofPolicies, r)
		case listed[r.Key]:
			ofListed = append(ofListed, r)
		case len(others) < maxRules:
			others = append(others, r)
		}
	}
	return slices.Concat(ofPolicies, ofListed, others)[:maxRules]
}

// allRules returns the rules of the last read. The caller must not change them.
func (h *Handler) allRules() []Rule {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known.rules
}

// alone returns nil while the other processes can be seen. Otherwise it marks this one.
func (h *Handler) alone(processes []Process) *alone {
	since, blind := h.reader.blind()
	a := alone{Since: since}
	for i := range processes {
		p := &processes[i]
		if p.Self = p.ID == h.recorder.id; !p.Self {
			a.Others++
		}
	}
	if !blind {
		return nil
	}
	return &a
}

// forget drops the cached state after an action.
func (h *Handler) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known.at, h.known.rulesAt = time.Time{}, time.Time{}
}

func (h *Handler) state(w http.ResponseWriter, r *http.Request) { answer(w, h.now(r.Context())) }

// essence returns the state without values that change all the time.
func (s *state) essence() string {
	brief := struct {
		Alone     *alone
		Processes []any
		Policies  []any
		Rules     []Rule
		MoreRules int
	}{Alone: s.Alone, Rules: s.Rules, MoreRules: s.MoreRules}
	for _, p := range s.Processes {
		brief.Processes = append(brief.Processes, []any{p.ID, p.Down})
	}
	for _, p := range s.Policies {
		brief.Policies = append(brief.Policies, []any{p.Name, p.Traits, p.Overridden})
	}
	text, _ := json.Marshal(brief) // strings and numbers always marshal
	return string(text)
}
