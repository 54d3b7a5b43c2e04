package redisstream

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
)

// The rules are one hash, which rules.lua describes. Its version alone is what
// limiters read twice a second.
const (
	rulesSuffix  = "{rules}"
	versionField = "version"
)

// Rules implements [core.Store].
func (s *Store) Rules(ctx context.Context, known string) ([]core.Rule, string, error) {
	version := redis.NewStringCmd(ctx, "hget", s.prefix+rulesSuffix, versionField)
	if err := s.plain(ctx, version); err != nil && version.Err() != redis.Nil {
		return nil, known, err
	}
	// There is none before the first rule, and that is a version too.
	if now := "v" + version.Val(); now == known {
		return nil, now, nil
	}
	all := redis.NewMapStringStringCmd(ctx, "hgetall", s.prefix+rulesSuffix)
	if err := s.plain(ctx, all); err != nil {
		return nil, known, err
	}
	var rules []core.Rule
	for id, value := range all.Val() {
		if id == versionField {
			continue
		}
		_, text, _ := strings.Cut(value, " ")
		var r core.Rule
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			// A newer version's, perhaps.
			s.logger.Warn("streamlimit: a rule that can't be read is passed over", "rule", id, "error", err)
			continue
		}
		rules = append(rules, r)
	}
	return rules, "v" + all.Val()[versionField], nil
}

// SetRule implements [core.Store].
func (s *Store) SetRule(ctx context.Context, r core.Rule) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("redisstream: rule: %w", err)
	}
	until := int64(0)
	if !r.Until.IsZero() {
		until = r.Until.UnixMilli()
	}
	_, err = s.changeRule(ctx, r.ID(), until, string(text))
	return err
}

// DeleteRule implements [core.Store].
func (s *Store) DeleteRule(ctx context.Context, id string) (bool, error) {
	return s.changeRule(ctx, id, "", "")
}

func (s *Store) changeRule(ctx context.Context, id string, until any, text string) (found bool, err error) {
	reply, err := s.run(ctx, changeRules, []string{s.prefix + rulesSuffix}, []any{id, until, text})
	if err != nil {
		return false, fmt.Errorf("redisstream: rule: %w", err)
	}
	return len(reply) == 1 && reply[0] == 1, nil
}
