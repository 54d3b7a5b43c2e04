package warning

import (
	"log/slog"
	"sync"
)

// Once writes a limiter's warnings about its setup, and each warning only once.
type Once struct {
	Logger *slog.Logger
	said   sync.Map // keys are codes, and pairs of a code and a policy
}

// Say writes a line, unless it wrote one with the code before.
func (o *Once) Say(code, message string, args ...any) {
	if _, said := o.said.LoadOrStore(code, true); !said {
		Log(o.Logger, code, message, args...)
	}
}

// SayOf writes a line about a policy, unless it wrote one with the code about that policy
// before. A limiter bounds its policies, so the number of lines is bounded.
func (o *Once) SayOf(code, policy, message string, args ...any) {
	if _, said := o.said.LoadOrStore([2]string{code, policy}, true); !said {
		Log(o.Logger, code, message, append([]any{"policy", policy}, args...)...)
	}
}
