package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

const maxEntries = 500 // entries of a log that are shown

// shownKey is the answer of api/key.
type shownKey struct {
	Policy     string       `json:"policy"`
	Key        string       `json:"key"`
	Name       string       `json:"name,omitempty"`
	Limits     []shownLimit `json:"limits"` // by the log, without rules
	Allowed    bool         `json:"allowed"`
	RetryAfter int64        `json:"retryAfter"`
	Entries    []shownEntry `json:"entries"`
	Lease      int64        `json:"lease,omitempty"` // milliseconds: an entry has the units of several requests
	Unit       string       `json:"unit,omitempty"`  // of the policy; see [Traits]
	Slots      bool         `json:"slots,omitempty"` // the policy limits requests in flight, and an entry is the last renewal of a slot
	Rules      []Rule       `json:"rules"`
	Networks   bool         `json:"networks"` // there are rules on networks, and the key does not show its network
	Lately     foundKey     `json:"lately"`
	Elsewhere  []foundKey   `json:"elsewhere"` // the same key under other policies
	Now        int64        `json:"now"`
}

type shownLimit struct {
	Limit  core.Limit `json:"limit"`
	Max    int64      `json:"max"`
	Window int64      `json:"window"`          // window of the log in milliseconds: longer with leases; 0 for a calendar limit
	Since  int64      `json:"since,omitempty"` // when the calendar period began, Unix milliseconds
	Used   int64      `json:"used"`
	FreeIn int64      `json:"freeIn"`
}

type shownEntry struct {
	Time   int64 `json:"t"`
	Cost   int64 `json:"cost"`
	Refund int64 `json:"refund"`
}

// query is the input of api/key and api/search. Text that a person typed may be a
// credential, so it is sent in the body of a POST. Addresses are logged.
type query struct {
	Policy string `json:"policy"`
	Key    string `json:"key"`
	Text   string `json:"q"`
}

// queryOf reads the query of a request. If it can't read it, it responds with an error.
func queryOf(w http.ResponseWriter, r *http.Request) (q query, ok bool) {
	if r.Method != http.MethodPost {
		// Fiber reuses the memory of a request's text.
		return query{strings.Clone(r.FormValue("policy")), strings.Clone(r.FormValue("key")), strings.Clone(r.FormValue("q"))}, true
	}
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	if err := body.Decode(&q); err != nil {
		refuse(w, http.StatusBadRequest, "the body must be a JSON object") // without the error, which may quote it
		return q, false
	}
	return q, true
}

func (h *Handler) key(w http.ResponseWriter, r *http.Request) {
	q, ok := queryOf(w, r)
	if !ok {
		return
	}
	p, ok := h.policy(r.Context(), q.Policy)
	if !ok {
		refuse(w, http.StatusNotFound, "no process has published this policy")
		return
	}
	if q.Key == "" {
		refuse(w, http.StatusBadRequest, "key is missing")
		return
	}
	shown, err := h.inspect(r.Context(), p, h.counted(r.Context(), q.Key))
	if err != nil {
		h.unread(w, err)
		return
	}
	answer(w, shown)
}

// unread responds to a failed read of a log, with a text for people.
func (h *Handler) unread(w http.ResponseWriter, err error) {
	text := "the store does not answer, so the use of this key is not known"
	switch {
	case errors.Is(err, store.ErrWrongType):
		text = "the key of this log in the store holds another kind of value"
	case errors.Is(err, store.ErrRejected):
		text = "the store failed to read this log: the log of this process has the error"
		h.limiter.Seam().Warnings.Logger.Warn("streamlimit: monitor: store failed to read a log", "error", err)
	}
	if errors.Is(err, core.ErrOverloaded) {
		text = "this process is overloaded, so the use of this key is not known: try again"
	}
	refuse(w, http.StatusServiceUnavailable, text)
}

// inspect returns the state of one key. The limits are those of the log, even if a rule
// decides without it.
func (h *Handler) inspect(ctx context.Context, p *core.Policy, key string) (*shownKey, error) {
	d, err := h.limiter.Peek(ctx, p, key)
	if err != nil {
		return nil, err
	}
	entries, err := h.limiter.Entries(ctx, p, key, maxEntries)
	if err != nil {
		return nil, err
	}
	former := h.limiter.Seam().Identity.Former(d.Key)
	usage, err := h.usage(ctx, d.Policy.Log(), d.Key, former)
	if err != nil {
		return nil, err
	}
	now := h.now(ctx)
	shown := &shownKey{
		Policy: d.Policy.Name(), Key: d.Key, Name: h.keyName(d.Policy.Name(), d.Key), Allowed: usage.Allowed,
		RetryAfter: usage.RetryAfter.Milliseconds(), Entries: []shownEntry{}, Lease: d.Policy.Log().Lease.Milliseconds(), Unit: unitOf(d.Policy), Slots: d.Policy.Concurrency(), Rules: []Rule{}, Now: h.clock().now().UnixMilli(),
	}
	for i, l := range d.Policy.Limits() {
		u, onLog := usage.Limits[i], d.Policy.Log().Limits[i]
		limit := shownLimit{Limit: l, Max: l.Max, Window: onLog.Window.Milliseconds(), Used: u.Used, FreeIn: u.FreeIn.Milliseconds()}
		if onLog.Period != nil {
			since, _ := onLog.Bounds(h.clock().now(), u.FreeIn)
			limit.Since = since.UnixMilli()
		}
		shown.Limits = append(shown.Limits, limit)
	}
	for _, e := range entries {
		shown.Entries = append(shown.Entries, shownEntry{e.Time.UnixMilli(), e.Cost, e.Refund})
	}
	for _, one := range h.allRules() {
		if one.Concerns(shown.Policy, shown.Key) || former != "" && one.Concerns(shown.Policy, former) {
			shown.Rules = append(shown.Rules, one)
		} else if one.Network != "" && !isNetwork(shown.Key) {
			shown.Networks = true
		}
	}
	shown.Lately, shown.Elsewhere = h.lately(shown.Policy, shown.Key, now.Now)
	return shown, nil
}

// usage returns the state of a key's log. While the key secret is rotated, the key has a
// former one, and one of the two logs has all that the other has: see
// [core.WithKeySecret].
func (h *Handler) usage(ctx context.Context, log *store.Log, key, former string) (store.Usage, error) {
	usage, err := h.recorder.logs.Peek(ctx, log, key, 1)
	if err != nil || former == "" {
		return usage, err
	}
	onFormer, err := h.recorder.logs.Peek(ctx, log, former, 1)
	for i := range log.Limits {
		if onFormer.Limits[i].Used > usage.Limits[i].Used {
			return onFormer, err
		}
	}
	return usage, err
}

// lately returns the decisions on a key in the last minute, under a policy and under
// others.
func (h *Handler) lately(policy, key string, now int64) (here foundKey, elsewhere []foundKey) {
	here = foundKey{Policy: policy, Key: key}
	elsewhere = []foundKey{}
	for _, k := range h.find(now, func(k foundKey) bool { return k.Key == key }) {
		if k.Policy == policy {
			here = k
		} else {
			elsewhere = append(elsewhere, k)
		}
	}
	if here.Allowed+here.Denied == 0 {
		_, here.AllowedError = h.keysOf(now, allowedOf, topAllowed)
		_, here.DeniedError = h.keysOf(now, deniedOf, topDenied)
	}
	return here, elsewhere
}

// policy returns the policy called name: this process's own, or a published one.
func (h *Handler) policy(ctx context.Context, name string) (*core.Policy, bool) {
	if p, ok := h.limiter.Policy(name); ok {
		return p, true
	}
	h.look(ctx) // if the store fails, use what was read before
	traits, ok := h.recorder.picture.traits(name)
	if !ok {
		return nil, false
	}
	p, err := traits.Policy(name)
	return p, err == nil
}

// foundKey is a key that a search finds, with its counts of the last minute. The true
// ones differ by the errors at most: see [TopKey].
type foundKey struct {
	Policy  string `json:"policy"`
	Key     string `json:"key"`
	Name    string `json:"name,omitempty"`
	Allowed int64  `json:"allowed"`
	Denied  int64  `json:"denied"`

	AllowedError int64 `json:"allowedError"`
	DeniedError  int64 `json:"deniedError"`
}
