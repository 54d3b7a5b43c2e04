package core

import (
	"log/slog"
	"strings"
	"sync"
)

// warnings are the log lines of a limiter about how it is set up, each with a
// code that WARNINGS.md explains, and none of them twice.
type warnings struct {
	logger *slog.Logger
	said   sync.Map // of codes
}

// The codes of warnings.
const (
	warnForwarded   = "STREAMLIMIT_W001"
	warnPolicyTwice = "STREAMLIMIT_W002"
	warnAskedTwice  = "STREAMLIMIT_W003"
	warnEviction    = "STREAMLIMIT_W004"
	warnOldRedis    = "STREAMLIMIT_W005"
	warnInHandler   = "STREAMLIMIT_W006"
)

const warningsPage = "https://github.com/streamlimit/streamlimit/blob/main/core/WARNINGS.md"

// say writes a line, unless one with the code was written before.
func (w *warnings) say(code, message string, args ...any) {
	if _, said := w.said.LoadOrStore(code, true); said {
		return
	}
	page := warningsPage + "#" + strings.ToLower(code)
	w.logger.Warn("streamlimit: "+message, append([]any{"code", code, "see", page}, args...)...)
}

func (w *warnings) has(code string) bool {
	_, said := w.said.Load(code)
	return said
}

// WarnAskedTwice is for adapters: one request was counted twice on one log.
func (l *Limiter) WarnAskedTwice(policy string) {
	l.warnings.say(warnAskedTwice, "a request was counted twice by one policy: its middleware is on the route twice", "policy", policy)
}

// Logger is where the limiter writes its log lines.
func (l *Limiter) Logger() *slog.Logger { return l.warnings.logger }

func (w *warnings) policyTwice(name string) {
	w.say(warnPolicyTwice, "two policies of one name have other limits or settings; give them names of their own", "policy", name)
}
