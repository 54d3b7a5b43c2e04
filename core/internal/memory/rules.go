package memory

import (
	"container/heap"
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

// keptChanges is the least number of changes of rules that a store keeps. A limiter that
// knows an older version gets all rules.
const keptChanges = 10_000

// rules are the rules in a store.
type rules struct {
	mu      sync.Mutex
	rules   map[string]store.Rule // by ID
	ends    ruleEnds
	version uint64
	changes []string // the IDs of the last changes, up to the one that led to version
}

// RuleTime implements [store.Store].
func (m *Store) RuleTime() time.Time { return time.UnixMilli(m.now()) }

// Rules implements [store.Store].
func (m *Store) Rules(ctx context.Context, known string) (store.RuleChanges, error) {
	if err := m.check(ctx); err != nil {
		return store.RuleChanges{}, err
	}
	s := &m.rules
	s.mu.Lock()
	defer s.mu.Unlock()
	c := store.RuleChanges{Version: strconv.FormatUint(s.version, 10)}
	since, err := strconv.ParseUint(known, 10, 64)
	if err != nil || since > s.version || s.version-since > uint64(len(s.changes)) {
		c.All, c.Set = true, slices.Collect(maps.Values(s.rules))
		return c, nil
	}
	seen := make(map[string]bool)
	for _, id := range s.changes[uint64(len(s.changes))-(s.version-since):] {
		if seen[id] {
			continue
		}
		seen[id] = true
		if r, ok := s.rules[id]; ok {
			c.Set = append(c.Set, r)
		} else {
			c.Deleted = append(c.Deleted, id)
		}
	}
	return c, nil
}

// SetRule implements [store.Store].
func (m *Store) SetRule(ctx context.Context, r store.Rule) error {
	if err := m.check(ctx); err != nil {
		return err
	}
	s := &m.rules
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleteEnded(m.RuleTime())
	id := r.ID
	if _, ok := s.rules[id]; !ok && len(s.rules) >= store.MaxRules {
		return store.ErrTooManyRules
	}
	if s.rules == nil {
		s.rules = make(map[string]store.Rule)
	}
	s.rules[id] = r
	if !r.Until.IsZero() {
		s.await(id, r.Until)
	}
	s.changed(id)
	return nil
}

// DeleteRule implements [store.Store].
func (m *Store) DeleteRule(ctx context.Context, id string) (bool, error) {
	if err := m.check(ctx); err != nil {
		return false, err
	}
	s := &m.rules
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleteEnded(m.RuleTime())
	_, found := s.rules[id]
	if found {
		delete(s.rules, id)
		s.changed(id)
	}
	return found, nil
}

// changed records a change.
func (s *rules) changed(id string) {
	s.version++
	if len(s.changes) >= 2*keptChanges {
		s.changes = append([]string(nil), s.changes[keptChanges:]...)
	}
	s.changes = append(s.changes, id)
}

// await schedules the deletion of a rule at its end.
func (s *rules) await(id string, until time.Time) {
	if len(s.ends) > 2*len(s.rules) {
		// Most of the entries are about rules that were set again or deleted.
		s.ends = slices.DeleteFunc(s.ends, func(e ruleEnd) bool { return !s.rules[e.id].Until.Equal(e.at) })
		heap.Init(&s.ends)
	}
	heap.Push(&s.ends, ruleEnd{until, id})
}

func (s *rules) deleteEnded(now time.Time) {
	for len(s.ends) > 0 && !now.Before(s.ends[0].at) {
		e := heap.Pop(&s.ends).(ruleEnd)
		if r, ok := s.rules[e.id]; ok && r.Ended(now) {
			delete(s.rules, e.id)
			s.changed(e.id)
		}
	}
}

// ruleEnds is a heap. Its front ends first.
type ruleEnds []ruleEnd

type ruleEnd struct {
	at time.Time
	id string
}

func (h ruleEnds) Len() int           { return len(h) }
func (h ruleEnds) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h ruleEnds) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *ruleEnds) Push(e any)        { *h = append(*h, e.(ruleEnd)) }
func (h *ruleEnds) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	*h = slices.Delete(*h, last, last+1)
	return e
}
