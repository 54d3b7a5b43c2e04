package core

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/streamlimit/streamlimit/core/internal/identity"
	"github.com/streamlimit/streamlimit/core/internal/keeper"
	"github.com/streamlimit/streamlimit/core/store"
)

// Charge is one policy, one key and a cost, for [Limiter.AllowAll].
type Charge struct {
	Policy *Policy
	Key    string
	Cost   int64 // units; 0 is 1

	slot *keeper.Slot // to ask for, with a concurrency policy
	most int64        // the most units for AllowUpTo, from 2; 0 to admit all of Cost or nothing
}

// onLog returns the charge in the form for a store.
func (c *Charge) onLog() store.Charge {
	on := store.Charge{Log: c.Policy.log, Key: c.Key, Cost: c.Cost}
	if c.slot != nil {
		on.Token = c.slot.Token()
	}
	return on
}

// onLogs returns charges in the form for a store.
func onLogs(charges []Charge) []store.Charge {
	asked := make([]store.Charge, len(charges))
	for i := range charges {
		asked[i] = charges[i].onLog()
	}
	return asked
}

// noUnits stands for a cost of 0, since 0 in a [Charge] means 1.
const noUnits = math.MinInt64

// costError returns an [ErrCost] for a cost that p never admits.
func costError(p *Policy, cost int64) error {
	switch {
	case cost == noUnits:
		return fmt.Errorf("%w: policy %s: 0 is below 1", ErrCost, p.name)
	case cost < 1:
		return fmt.Errorf("%w: policy %s: %d is below 1", ErrCost, p.name, cost)
	case cost != 1 && !p.costs:
		return fmt.Errorf("%w: policy %s counts requests: give it core.VariableCost() to take %d", ErrCost, p.name, cost)
	}
	for _, l := range p.limits {
		if cost > l.Max && p.Mode() == ModeOn {
			return fmt.Errorf("%w: policy %s: %d is above the limit %v", ErrCost, p.name, cost, l)
		}
	}
	return nil
}

// fits reports whether every limit could admit cost.
func (p *Policy) fits(cost int64) bool {
	for _, l := range p.limits {
		if cost > l.Max {
			return false
		}
	}
	return true
}

// maxKeyLength is the longest key, in bytes, that is kept as it is. A digest replaces a
// longer key, so that no request decides how much memory its key takes.
const maxKeyLength = 128

// hashedPrefix marks the digests of keys. Short keys that start with it are
// replaced too, so that no key can pass for the digest of another.
const hashedPrefix = "sha256="

// boundedKey returns the key, or its digest if the key is long or is not valid UTF-8.
func boundedKey(key string) string {
	if len(key) <= maxKeyLength && !strings.HasPrefix(key, hashedPrefix) && utf8.ValidString(key) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hashedPrefix + hex.EncodeToString(sum[:identity.DigestBytes])
}

// shownKey returns the key as decisions show it. It takes the digest of a long key for
// that key. Do not use shownKey to count: see boundedKey.
func shownKey(key string) string {
	digest, ok := strings.CutPrefix(key, hashedPrefix)
	if ok && len(digest) == 2*identity.DigestBytes && strings.Trim(digest, "0123456789abcdef") == "" {
		return key
	}
	return boundedKey(key)
}
