package monitor

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// state is the answer of api/state.
type state struct {
	Now       int64     `json:"now"`
	ReadOnly  bool      `json:"readOnly"`
	Source    string    `json:"source"`
	Alone     *alone    `json:"alone,omitempty"`
	Processes []Process `json:"processes"`
	Requests  Counts    `json:"requests"`
	Policies  []Policy  `json:"policies"`
	Rules     []Rule    `json:"rules"`               // at most maxRules of them
	MoreRules int       `json:"moreRules,omitempty"` // how many there are beside them
}

// alone says that the other processes can't be seen, since what they publish can't be
// read from the store. What is shown of the time since then is this process's alone.
type alone struct {
	Since  int64 `json:"since"`  // when they were last seen, Unix milliseconds; 0 for never
	Others int   `json:"others"` // how many were seen within the hour before
}

// stateTime bounds how long the state waits for the store, twice: the page takes its
// connection for lost after six seconds.
const stateTime = 2 * time.Second

// known is the state as it was at a time, so that many who watch cost the store no
// more than one.
type known struct {
	at    time.Time
	state state

	rules   []Rule    // all that the store returned last, by ID
	rulesAt time.Time // when they are read again
}

const (
	// maxRules bounds the rules in the state: there can be [store.MaxRules].
	maxRules = 300

	// rulesShare bounds the time for reading all rules: they are read again when so
	// many times as long has passed. 100,000 take 0.2 s.
	rulesShare = 20
)

// now is the state as it is, or was a moment ago.
func (h *Handler) now(ctx context.Context) state {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.known.at) < freshness {
		return h.known.state
	}
	// Without the store this process's own numbers are there, and the rules that
	// were read last.
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

// look reads what the other processes tell, as far as the store says it in time.
func (h *Handler) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	_, _ = h.reader.catchUp(ctx) // alone says so
}

// readRules reads the rules, unless they were read a moment ago. The caller holds h.mu.
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

// shownRules returns the rules that the page shows: those on policies first, then
// those on the keys that it shows, and of the others as many as there is room for.
// The caller holds h.mu.
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

// allRules returns the rules that were read last, which the caller must not change.
func (h *Handler) allRules() []Rule {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known.rules
}

// alone is nil while the other processes can be seen, and marks this one.
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

// forget has the next state be read anew, after an action.
func (h *Handler) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known.at, h.known.rulesAt = time.Time{}, time.Time{}
}

func (h *Handler) state(w http.ResponseWriter, r *http.Request) { answer(w, h.now(r.Context())) }

// essence is the state without what changes all the time.
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
