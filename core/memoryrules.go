package core

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
)

// memoryRules are the rules in a Memory.
type memoryRules struct {
	mu      sync.Mutex
	rules   map[string]Rule // by ID
	version uint64
}

// Rules implements [Store].
func (m *Memory) Rules(ctx context.Context, known string) ([]Rule, string, error) {
	if err := m.check(ctx); err != nil {
		return nil, known, err
	}
	m.rules.mu.Lock()
	defer m.rules.mu.Unlock()
	version := strconv.FormatUint(m.rules.version, 10)
	if version == known {
		return nil, version, nil
	}
	return slices.Collect(maps.Values(m.rules.rules)), version, nil
}

// SetRule implements [Store]. Rules that have ended are forgotten.
func (m *Memory) SetRule(ctx context.Context, r Rule) error {
	if err := m.check(ctx); err != nil {
		return err
	}
	m.rules.mu.Lock()
	defer m.rules.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(m.rules.rules, func(_ string, r Rule) bool { return r.ended(now) })
	if m.rules.rules == nil {
		m.rules.rules = make(map[string]Rule)
	}
	m.rules.rules[r.ID()] = r
	m.rules.version++
	return nil
}

// DeleteRule implements [Store].
func (m *Memory) DeleteRule(ctx context.Context, id string) (bool, error) {
	if err := m.check(ctx); err != nil {
		return false, err
	}
	m.rules.mu.Lock()
	defer m.rules.mu.Unlock()
	r, found := m.rules.rules[id]
	delete(m.rules.rules, id)
	m.rules.version++
	return found && !r.ended(time.Now()), nil
}
