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
	Rules     []Rule    `json:"rules"`
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
	h.look(ctx)
	if rules, err := h.rules(ctx); err == nil {
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
		Now: pic.Now.UnixMilli(), ReadOnly: h.readOnly, Source: h.recorder.store, Alone: h.alone(pic.Processes),
		Processes: pic.Processes, Requests: pic.Requests, Policies: pic.Policies, Rules: append([]Rule{}, h.known.rules...),
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

func (h *Handler) rules(ctx context.Context) ([]core.Rule, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	return h.limiter.Rules(ctx)
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
	h.known.at = time.Time{}
}

func (h *Handler) state(w http.ResponseWriter, r *http.Request) { answer(w, h.now(r.Context())) }

// essence is the state without what changes all the time.
func (s *state) essence() string {
	brief := struct {
		Alone     *alone
		Processes []any
		Policies  []any
		Rules     []Rule
	}{Alone: s.Alone, Rules: s.Rules}
	for _, p := range s.Processes {
		brief.Processes = append(brief.Processes, []any{p.ID, p.Down})
	}
	for _, p := range s.Policies {
		brief.Policies = append(brief.Policies, []any{p.Name, p.Traits, p.Overridden})
	}
	text, _ := json.Marshal(brief) // strings and numbers always marshal
	return string(text)
}
