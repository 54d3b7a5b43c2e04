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
	Processes []Process `json:"processes"`
	Policies  []Policy  `json:"policies"`
	Rules     []Rule    `json:"rules"`
}

// known is the state as it was at a time, so that many who watch cost the store no
// more than one.
type known struct {
	at    time.Time
	state state
	rules []Rule // the last that the store has told
}

// now is the state as it is, or was a moment ago.
func (h *Handler) now(ctx context.Context) state {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.known.at) < freshness {
		return h.known.state
	}
	// Without the store this process's own numbers are there, and the rules that
	// were read last.
	_, _ = h.reader.catchUp(ctx)
	if rules, err := h.limiter.Rules(ctx); err == nil {
		h.known.rules = make([]Rule, len(rules))
		for i, r := range rules {
			h.known.rules[i] = ShowRule(r)
		}
	}
	pic := h.recorder.picture.show(h.clock().now().UnixMilli())
	pic.takeTraits(h.limiter)
	for i := range pic.Policies {
		p := &pic.Policies[i]
		p.Overridden = slices.ContainsFunc(h.known.rules, func(r Rule) bool { return r.Kind == core.Override && r.Policy == p.Name })
	}
	h.known.state = state{
		Now: pic.Now.UnixMilli(), ReadOnly: h.readOnly, Source: h.recorder.store,
		Processes: pic.Processes, Policies: pic.Policies, Rules: append([]Rule{}, h.known.rules...),
	}
	h.known.at = time.Now()
	return h.known.state
}

// forget has the next state be read anew, after an action.
func (h *Handler) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known.at = time.Time{}
}

func (h *Handler) state(w http.ResponseWriter, r *http.Request) { answer(w, h.now(r.Context())) }

// essence is the state without what changes all the time.
func (s *state) essence() string {
	brief := struct {
		Processes []any
		Policies  []any
		Rules     []Rule
	}{Rules: s.Rules}
	for _, p := range s.Processes {
		brief.Processes = append(brief.Processes, []any{p.ID, p.Down})
	}
	for _, p := range s.Policies {
		brief.Policies = append(brief.Policies, []any{p.Name, p.Traits, p.Overridden})
	}
	text, _ := json.Marshal(brief) // strings and numbers always marshal
	return string(text)
}
