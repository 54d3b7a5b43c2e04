package core

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/streamlimit/streamlimit/core/internal/warning"
)

// warnings are the log lines of a limiter about how it is set up, each with a
// code that WARNINGS.md explains, and none of them twice.
type warnings struct {
	logger *slog.Logger
	said   sync.Map // of codes, and of codes with what they are about
}

// The codes of warnings. Package redisstream has W004, W005, W011 and W014.
const (
	warnForwarded   = "STREAMLIMIT_W001"
	warnPolicyTwice = "STREAMLIMIT_W002"
	warnAskedTwice  = "STREAMLIMIT_W003"
	warnUnfit       = "STREAMLIMIT_W007"
	warnRulesUnread = "STREAMLIMIT_W008"
	warnApart       = "STREAMLIMIT_W009"
	warnNoAddress   = "STREAMLIMIT_W012"
	warnLoopback    = "STREAMLIMIT_W013"
)

// say writes a line, unless one with the code was written before.
func (w *warnings) say(code, message string, args ...any) {
	if _, said := w.said.LoadOrStore(code, true); !said {
		warning.Log(w.logger, code, message, args...)
	}
}

// sayOf writes a line about a policy, unless one about it with the code was written
// before. There are no more lines than a limiter remembers policies.
func (w *warnings) sayOf(code string, policy *Policy, message string, args ...any) {
	if _, said := w.said.LoadOrStore([2]string{code, policy.name}, true); !said {
		warning.Log(w.logger, code, message, append([]any{"policy", policy.name}, args...)...)
	}
}

// Logger returns the logger that the limiter writes to.
func (l *Limiter) Logger() *slog.Logger { return l.warnings.logger }

// WarnAskedTwice warns that one request was counted twice on one log. It is for
// adapters.
func (l *Limiter) WarnAskedTwice(policy *Policy) {
	l.warnings.sayOf(warnAskedTwice, policy, "a request was counted twice by one policy: its middleware is on the route at two costs, or a handler has passed on a copy of the request")
}

// apart says that policies can't be asked together on this store.
func (w *warnings) apart(err error) {
	w.say(warnApart, "requests are refused: policies that are asked together on a Redis Cluster or Ring, with different keys, need core.Refundable", "error", err)
}

func (w *warnings) policyTwice(a, b *Policy) {
	w.sayOf(warnPolicyTwice, a, "two policies of one name have other limits or settings; give them names of their own",
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
	add(a.costs != b.costs, "VariableCost")
	add(a.refundable != b.refundable || a.grace != b.grace, "Refundable")
	add(a.slices != b.slices, "Coarse")
	add(a.shadow != b.shadow, "Shadow")
	add(a.fieldName != b.fieldName, "FieldName")
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
		l.warnings.say(warnUnfit, "an override can't be applied to its policy, which keeps its limits here", "error", err)
	}
}

func (w *warnings) rulesUnread(err error) {
	w.say(warnRulesUnread, "the rules in the store can't be read; those that are known stay", "error", err)
}
