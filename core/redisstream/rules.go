package redisstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/store"
)

// rulesSuffix ends the prefix of the keys that have the rules, which rules.lua
// describes. They are in one hash slot.
const rulesSuffix = "{rules}"

// rulesFormat is the version of the rules' format, which is part of their keys.
const rulesFormat = ":1"

// versionField is the field of the hash that is not a rule.
const versionField = "version"

// rulesPage is how many rules are read at once, and changesPage how many changes, each of
// which can have deleted a hundred rules. A page of rules takes the server some 8 ms:
// 100,000 rules take 27 round trips, and no decision waits for all. Lua can unpack 7,000.
const (
	rulesPage   = 4000
	changesPage = 500
)

// rulesAttempts is how often all rules are read before a limiter gives up, when
// they are lost or change faster than they can be read.
const rulesAttempts = 3

func (s *Store) ruleKeys() (keys [4]string) {
	for i, name := range [...]string{":all", ":order", ":ends", ":changes"} {
		keys[i] = s.prefix + rulesSuffix + rulesFormat + name
	}
	return keys
}

// ruleVersion is the form of a version, which is the ID of an entry.
var ruleVersion = regexp.MustCompile(`^[1-9][0-9]{0,18}-[0-9]{1,19}$`)

// Rules implements [store.Store].
func (s *Store) Rules(ctx context.Context, known string) (store.RuleChanges, error) {
	version := known
	if !ruleVersion.MatchString(known) && known != noRules {
		version = ""
	}
	c := ruleChanges{store: s, version: version, rules: make(map[string]store.Rule)}
	for range rulesAttempts {
		if c.version == "" {
			if err := c.readAll(ctx); err != nil {
				return store.RuleChanges{}, err
			}
		}
		complete, err := c.readNews(ctx)
		if err != nil {
			return store.RuleChanges{}, err
		}
		if complete {
			return c.result(), nil
		}
		c.version = ""
	}
	return store.RuleChanges{}, errors.New("redisstream: rules: they change faster than they can be read")
}

// noRules is the version before the first rule.
const noRules = "0-0"

// ruleChanges are the changes of rules that are being read.
type ruleChanges struct {
	store   *Store
	version string
	all     bool
	rules   map[string]store.Rule // by ID; the zero Rule for a deleted rule
}

// readAll reads all rules, a page at a time, in the order in which they were changed.
// A rule that is changed meanwhile is among the news of the version that was there
// at the beginning.
func (c *ruleChanges) readAll(ctx context.Context) error {
	c.all, c.version = true, ""
	clear(c.rules)
	after, upto := "-inf", "+inf"
	for {
		version, page, err := c.store.readRules(ctx, rulesPage, "", after, upto)
		if err != nil {
			return err
		}
		if len(page)%3 != 0 {
			return errRulesReply
		}
		if c.version == "" {
			c.version = version
			upto, _, _ = strings.Cut(version, "-")
		}
		for rule := range slices.Chunk(page, 3) {
			number, numbered := rule[0].(string)
			id, value, ok := texts(rule[1:])
			if !numbered || !ok {
				return errRulesReply
			}
			after = number
			c.take(id, value)
		}
		if len(page) < 3*rulesPage {
			return nil
		}
	}
}

// readNews reads the changes since the version, and reports whether there are any: not
// when the version is not among the last changes.
func (c *ruleChanges) readNews(ctx context.Context) (complete bool, err error) {
	for {
		current, news, err := c.store.readRules(ctx, changesPage, c.version, "", "")
		if err != nil || news == nil {
			return false, err
		}
		if len(news)%2 != 0 {
			return false, errRulesReply
		}
		for change := range slices.Chunk(news, 2) {
			version, versioned := change[0].(string)
			rules, ok := change[1].([]any)
			if !versioned || !ok || len(rules)%2 != 0 {
				return false, errRulesReply
			}
			for rule := range slices.Chunk(rules, 2) {
				id, value, ok := texts(rule)
				if !ok {
					return false, errRulesReply
				}
				c.take(id, value)
			}
			c.version = version
		}
		if c.version == current {
			return true, nil
		}
		if len(news) == 0 {
			return false, nil // the changes were lost and the rules were not
		}
	}
}

// take takes over a value of the hash, "" for a rule that is deleted. A rule that has
// ended is as good as deleted: the next changes delete it.
func (c *ruleChanges) take(id, value string) {
	c.rules[id] = store.Rule{}
	end, text, _ := strings.Cut(value, " ")
	until, _ := strconv.ParseInt(end, 10, 64)
	if value == "" || until > 0 && until <= c.store.RuleTime().UnixMilli() {
		return
	}
	r := store.Rule{ID: id, Text: text}
	if until > 0 {
		r.Until = time.UnixMilli(until).UTC()
	}
	c.rules[id] = r
}

func (c *ruleChanges) result() store.RuleChanges {
	result := store.RuleChanges{Version: c.version, All: c.all}
	for id, r := range c.rules {
		switch {
		case r.ID != "":
			result.Set = append(result.Set, r)
		case !c.all:
			result.Deleted = append(result.Deleted, id)
		}
	}
	return result
}

func texts(pair []any) (one, two string, ok bool) {
	one, first := pair[0].(string)
	two, second := pair[1].(string)
	return one, two, first && second
}

var errRulesReply = errors.New("redisstream: rules: the script answered something else")

// readRules runs rulechanges.lua. It returns nil when the version that is known is not
// among the last changes.
func (s *Store) readRules(ctx context.Context, most int, known, after, upto string) (version string, list []any, err error) {
	keys := s.ruleKeys()
	sent := own()
	reply, err := s.readScript(ctx, readRules, keys[:], known, after, upto, most)
	if err != nil {
		return "", nil, err
	}
	if len(reply) < 3 || len(reply) > 4 {
		return "", nil, errRulesReply
	}
	seconds, micros, ok := texts(reply)
	version, versioned := reply[2].(string)
	now, err := parseTime(seconds, micros)
	if !ok || !versioned || err != nil {
		return "", nil, errRulesReply
	}
	s.clock.set(now, sent)
	if len(reply) == 3 {
		return version, nil, nil
	}
	if list, ok = reply[3].([]any); !ok {
		return "", nil, errRulesReply
	}
	return version, list, nil
}

// readScript runs a script that changes nothing, and so may be sent again.
func (s *Store) readScript(ctx context.Context, sc *script, keys []string, args ...any) ([]any, error) {
	call := []any{"evalsha", sc.sha, len(keys)}
	for _, key := range keys {
		call = append(call, key)
	}
	call = append(call, args...)
	cmd := redis.NewSliceCmd(ctx, call...)
	err := s.plain(ctx, keys[0], cmd)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		call = slices.Clone(call) // hooks of the client can still have the first
		call[0], call[1] = "eval", sc.source
		cmd = redis.NewSliceCmd(ctx, call...)
		err = s.plain(ctx, keys[0], cmd)
	}
	if err != nil {
		return nil, err // the reply can still come, after a caller that has left
	}
	return cmd.Val(), nil
}

// SetRule implements [store.Store].
func (s *Store) SetRule(ctx context.Context, r store.Rule) error {
	until := int64(0)
	if !r.Until.IsZero() {
		until = r.Until.UnixMilli()
	}
	_, err := s.changeRule(ctx, changeRules, r.ID, strconv.FormatInt(until, 10), r.Text)
	return err
}

// DeleteRule implements [store.Store]. It also works on a server that is at its maxmemory.
func (s *Store) DeleteRule(ctx context.Context, id string) (bool, error) {
	return s.changeRule(ctx, deleteRules, id, "", "")
}

// A change of rules is tried so many times, with a pause in between, while their slot
// moves to another server. Moving the four keys takes far less.
const (
	movingTries = 20
	movingPause = 50 * time.Millisecond
)

func (s *Store) changeRule(ctx context.Context, sc *script, id, until, text string) (found bool, err error) {
	keys := s.ruleKeys()
	call := []any{"evalsha", sc.sha, len(keys), keys[0], keys[1], keys[2], keys[3], id, until, text, rand.Int64(), store.MaxRules}
	reply, err := s.batcher.run(ctx, charge{log: keys[0]}, sc, slices.Clone(call))
	for tries := 1; redis.HasErrorPrefix(err, "TRYAGAIN") && tries < movingTries; tries++ {
		// The slot of the rules moves to another server, and some of the keys are there
		// already. The script has not run.
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("rule: %w", ctx.Err())
		case <-time.After(movingPause):
		}
		reply, err = s.batcher.run(ctx, charge{log: keys[0]}, sc, slices.Clone(call))
	}
	if err != nil {
		return false, fmt.Errorf("rule: %w", err)
	}
	if len(reply) == 1 && reply[0] < 0 {
		return false, store.ErrTooManyRules
	}
	return len(reply) == 1 && reply[0] == 1, nil
}
