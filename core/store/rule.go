package store

import "time"

// MaxRules is the maximum number of rules in a store. A change costs the same for any
// number of rules. Each process holds all rules in memory, at about 300 bytes each, and
// reads only changes.
const MaxRules = 100_000

// Rule is a rule as a store keeps it. A store returns it as it was set.
type Rule struct {
	// ID names the rule: a store has one rule for each ID. It starts with the rule's
	// kind and a space. What follows can contain the key of a client.
	ID string

	Text string // what the rule says

	// Until is when the rule ends, by the store's clock and in whole milliseconds. With
	// the zero Time the rule does not end.
	Until time.Time
}

// Ended reports whether the rule is over at a time.
func (r *Rule) Ended(now time.Time) bool { return !r.Until.IsZero() && !now.Before(r.Until) }

// RuleChanges are what has changed in the rules of a [Store] since a version.
type RuleChanges struct {
	// Version is the version of the rules with these changes. It is not "". Every
	// change makes another version, also after the rules were lost. If nothing has
	// changed, it is the version that the caller knew.
	Version string

	All     bool     // Set has all rules: all others were deleted
	Set     []Rule   // rules that are new or different
	Deleted []string // the IDs of rules that were deleted; none of them is in Set
}
