package redisstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
)

// The rules are one hash, which rules.lua describes. Its version alone is what
// limiters read all the time.
const (
	rulesSuffix  = "{rules}"
	versionField = "version"
)

// Rules implements [core.Store]. A rule that can't be read is passed over, with
// one log line for each version of the rules.
func (s *Store) Rules(ctx context.Context, known string) ([]core.Rule, string, error) {
	version := redis.NewStringCmd(ctx, "hget", s.prefix+rulesSuffix, versionField)
	now := versionPrefix
	switch err := s.plain(ctx, s.prefix+rulesSuffix, version); {
	case err == nil:
		now += version.Val()
	case !errors.Is(err, redis.Nil):
		return nil, known, err
	}
	if now == known {
		return nil, now, nil
	}
	all := redis.NewMapStringStringCmd(ctx, "hgetall", s.prefix+rulesSuffix)
	if err := s.plain(ctx, s.prefix+rulesSuffix, all); err != nil {
		return nil, known, err
	}
	now = versionPrefix + all.Val()[versionField]
	var rules []core.Rule
	for id, value := range all.Val() {
		if id == versionField {
			continue
		}
		r, err := parseRule(value)
		if err != nil {
			s.unread(now, id, err)
			continue
		}
		rules = append(rules, r)
	}
	return rules, now, nil
}

// versionPrefix starts a version, so that none is "": before the first rule
// there are rules too, namely none.
const versionPrefix = "v"

// parseRule reads a value of the hash. What this version does not know is not
// to be guessed: it may say whom the rule is not about.
func parseRule(value string) (r core.Rule, err error) {
	_, text, _ := strings.Cut(value, " ")
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return r, errors.New("more follows the rule")
	}
	return r, nil
}

// unread logs that a rule can't be read, once for each version of the rules.
func (s *Store) unread(version, id string, err error) {
	if last := s.unreadVersion.Swap(&version); last != nil && *last == version {
		return
	}
	kind, _, _ := strings.Cut(id, " ") // what follows can be a client's key
	s.logger.Warn("streamlimit: a rule that can't be read is passed over", "kind", kind, "error", err)
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
	rules := s.prefix + rulesSuffix
	reply, err := s.batcher.run(ctx, charge{log: rules}, changeRules, append(changeRules.call(3, rules), id, until, text))
	if err != nil {
		return false, fmt.Errorf("rule: %w", err)
	}
	return len(reply) == 1 && reply[0] == 1, nil
}
