package core_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// Zero values can be shown: as JSON, in logs, and printed. A program shows them
// when it has no decision, or looks at one that a rule made.
func TestZeroValuesCanBeShown(t *testing.T) {
	for _, v := range []any{
		core.Decision{}, &core.Decision{}, core.LimitState{}, core.Limit{}, core.Policy{}, &core.Policy{}, (*core.Policy)(nil),
		core.Source(0), core.Reason(""), core.Result(0), core.FailureMode(""), core.HeaderForm(0), store.Layout(0), store.Log{}, store.Charge{}, store.Rule{},
		core.Rule{}, core.RuleKind(""), core.Health{}, core.Down{}, core.Problem{}, core.Observation{},
		core.Charge{}, store.Usage{}, store.LimitUsage{}, store.EntryID{}, store.Entry{},
		&store.ChargeError{}, &core.LimitedError{}, &core.Problem{},
	} {
		t.Run(fmt.Sprintf("%T", v), func(t *testing.T) {
			if _, err := json.Marshal(v); err != nil {
				t.Errorf("JSON: %v", err)
			}
			var logged bytes.Buffer
			slog.New(slog.NewJSONHandler(&logged, nil)).Info("shown", "value", v)
			slog.New(slog.NewTextHandler(&logged, nil)).Info("shown", "value", v)
			fmt.Fprintf(&logged, "%v %+v", v, v)
			for _, wrong := range []string{"!ERROR", "!PANIC", "PANIC="} {
				if strings.Contains(logged.String(), wrong) {
					t.Errorf("%s in %s", wrong, &logged)
				}
			}
		})
	}
}

// A decision that was made without its policy's limits can be shown too.
func TestDecisionsCanBeShown(t *testing.T) {
	l, _ := newLimiter(t)
	p := core.NewPolicy("p", core.PerMinute(1))
	for kind, key := range map[core.RuleKind]string{core.RuleBlock: "blocked", core.RuleExempt: "exempt"} {
		if err := l.SetRule(t.Context(), core.Rule{Kind: kind, Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"blocked", "exempt", "other"} {
		d := allow(t, l, p, key, 1)
		text, err := json.Marshal(d)
		if err != nil || !bytes.Contains(text, []byte(`"Policy":"p"`)) {
			t.Errorf("%s: %s, %v", key, text, err)
		}
		var limited *core.LimitedError
		if errors.As(d.Err(), &limited) {
			if _, err := json.Marshal(limited); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
	}
}
