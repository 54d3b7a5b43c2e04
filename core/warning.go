package core

import (
	"fmt"
	"slices"
	"strings"

	"github.com/streamlimit/streamlimit/core/internal/warning"
)

// warnings are the log lines of a limiter about how it is set up, each with a
// code that WARNINGS.md explains, and none of them twice.
type warnings struct{ warning.Once }

// The codes of warnings. Other packages have more: see WARNINGS.md.
const (
	warnPolicyTwice = "STREAMLIMIT_W002"
	warnUnfit       = "STREAMLIMIT_W007"
	warnRulesUnread = "STREAMLIMIT_W008"
	warnApart       = "STREAMLIMIT_W009"
	warnSlotLost    = "STREAMLIMIT_W015"
)

// apart says that policies can't be asked together on this store.
func (w *warnings) apart(err error) {
	w.Say(warnApart, "requests are refused: policies that are asked together on a Redis Cluster or Ring, with different keys, need core.Refundable", "error", err)
}

func (w *warnings) policyTwice(a, b *Policy) {
	w.SayOf(warnPolicyTwice, a.name, "two policies of one name have other limits or settings; give them names of their own",
		"first", limitsText(a), "second", limitsText(b), "other", strings.Join(differences(a, b), ", "))
}

// differences are the options in which policies differ.
func differences(a, b *Policy) (names []string) {
	add := func(differ bool, option string) {
		if differ {
			names = append(names, option)
		}
	}
	add(!slices.Equal(a.limits, b.limits), "limits")
	add(a.slots != b.slots, "NewConcurrency")
	add(a.costs != b.costs, "VariableCost")
	add(a.refundable != b.refundable || a.grace != b.grace, "Refundable")
	add(a.slices != b.slices, "Coarse")
	add(a.lease != b.lease, "Lease")
	add(a.shadow != b.shadow, "Shadow")
	add(a.fieldName != b.fieldName, "FieldName")
	add(a.unit != b.unit, "Unit")
	add(a.failure != b.failure, "OnStoreFailure")
	return names
}

func limitsText(p *Policy) string {
	text := fmt.Sprint(p.limits)
	return strings.Trim(text, "[]")
}

// warnUnfit says that a rule gives a policy limits that it can't have, if so.
func (l *Limiter) warnUnfit(err error) {
	if err != nil {
		l.warnings.Say(warnUnfit, "an override can't be applied to its policy, which keeps its limits here", "error", err)
	}
}

func (w *warnings) rulesUnread(err error) {
	w.Say(warnRulesUnread, "the rules in the store can't be read; those that are known stay", "error", err)
}
