package monitor

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/streamlimit/streamlimit/core"
)

const (
	maxEntries = 500 // of a log that are shown
	maxFound   = 50  // keys that a search finds
)

// shownKey is the answer of api/key.
type shownKey struct {
	Policy     string       `json:"policy"`
	Key        string       `json:"key"`
	Name       string       `json:"name,omitempty"`
	Limits     []shownLimit `json:"limits"`
	Allowed    bool         `json:"allowed"`
	RetryAfter int64        `json:"retryAfter"`
	Entries    []shownEntry `json:"entries"`
	Rules      []Rule       `json:"rules"`
	Now        int64        `json:"now"`
}

type shownLimit struct {
	Limit  core.Limit `json:"limit"`
	Max    int64      `json:"max"`
	Used   int64      `json:"used"`
	FreeIn int64      `json:"freeIn"`
}

type shownEntry struct {
	Time   int64 `json:"t"`
	Cost   int64 `json:"cost"`
	Refund int64 `json:"refund"`
}

func (h *Handler) key(w http.ResponseWriter, r *http.Request) {
	p, ok := h.policy(r.Context(), r.FormValue("policy"))
	if !ok {
		refuse(w, http.StatusNotFound, "no process has told of such a policy")
		return
	}
	key := strings.Clone(r.FormValue("key")) // Fiber uses the memory of a request's text again
	if key == "" {
		refuse(w, http.StatusBadRequest, "key is missing")
		return
	}
	d, err := h.limiter.Peek(r.Context(), p, key)
	if err != nil {
		fail(w, err)
		return
	}
	entries, err := h.limiter.Entries(r.Context(), p, key, maxEntries)
	if err != nil {
		fail(w, err)
		return
	}
	rules := h.now(r.Context()).Rules
	shown := shownKey{
		Policy: d.Policy.Name(), Key: d.Key, Name: h.keyName(d.Policy.Name(), d.Key), Allowed: d.Allowed && !d.WouldDeny,
		RetryAfter: d.RetryAfter.Milliseconds(), Entries: []shownEntry{}, Rules: []Rule{}, Now: h.clock().now().UnixMilli(),
	}
	for _, s := range d.States() {
		shown.Limits = append(shown.Limits, shownLimit{s.Limit, s.Limit.Max, s.Limit.Max - s.Remaining, s.Reset.Milliseconds()})
	}
	for _, e := range entries {
		shown.Entries = append(shown.Entries, shownEntry{e.Time.UnixMilli(), e.Cost, e.Refund})
	}
	for _, one := range rules {
		if one.Concerns(shown.Policy, shown.Key) {
			shown.Rules = append(shown.Rules, one)
		}
	}
	answer(w, shown)
}

// policy is the policy called name: this process's, or one that others have told
// of.
func (h *Handler) policy(ctx context.Context, name string) (*core.Policy, bool) {
	if p, ok := h.limiter.Policy(name); ok {
		return p, true
	}
	_, _ = h.reader.catchUp(ctx) // without the store, by what was read before
	traits, ok := h.recorder.picture.traits(name)
	if !ok {
		return nil, false
	}
	p, err := traits.Policy(name)
	return p, err == nil
}

// foundKey is a key that a search finds.
type foundKey struct {
	Policy  string `json:"policy"`
	Key     string `json:"key"`
	Name    string `json:"name,omitempty"`
	Allowed int64  `json:"allowed"`
	Denied  int64  `json:"denied"`
}

func (h *Handler) search(w http.ResponseWriter, r *http.Request) {
	now := h.now(r.Context()).Now
	answer(w, map[string][]foundKey{"keys": h.find(strings.ToLower(r.FormValue("q")), now)})
}

// find finds keys of the last minute by a part of their text or name: all that
// this process knows, and those that others have listed.
func (h *Handler) find(part string, now int64) []foundKey {
	most := slices10s * capacity
	own := Top{Allowed: h.recorder.minute.keys(now, topAllowed, most), Denied: h.recorder.minute.keys(now, topDenied, most)}
	found := make(map[keyName]*foundKey)
	of := func(k TopKey) *foundKey {
		name := keyName{k.Policy, k.Key}
		if found[name] == nil {
			found[name] = &foundKey{Policy: k.Policy, Key: k.Key, Name: h.keyName(k.Policy, k.Key)}
		}
		return found[name]
	}
	for _, top := range append(h.recorder.picture.tops(now, h.recorder.id), own) {
		for _, k := range top.Allowed {
			of(k).Allowed += k.Count
		}
		for _, k := range top.Denied {
			of(k).Denied += k.Count
		}
	}
	keys := []foundKey{}
	for _, k := range found {
		if strings.Contains(strings.ToLower(k.Key), part) || strings.Contains(strings.ToLower(k.Name), part) {
			keys = append(keys, *k)
		}
	}
	slices.SortFunc(keys, func(a, b foundKey) int {
		return cmp.Or(cmp.Compare(b.Allowed+b.Denied, a.Allowed+a.Denied), cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Key, b.Key))
	})
	return keys[:min(len(keys), maxFound)]
}
