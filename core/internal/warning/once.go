package warning

import (
	"log/slog"
	"sync"
)

// Once writes the lines of a limiter about how it is set up, and none of them twice.
type Once struct {
	Logger *slog.Logger
	said   sync.Map // of codes, and of codes with what they are about
}

// Say writes a line, unless one with the code was written before.
func (o *Once) Say(code, message string, args ...any) {
	if _, said := o.said.LoadOrStore(code, true); !said {
		Log(o.Logger, code, message, args...)
	}
}

// SayOf writes a line about a policy, unless one about it with the code was written
// before. There are no more lines than a limiter remembers policies.
func (o *Once) SayOf(code, policy, message string, args ...any) {
	if _, said := o.said.LoadOrStore([2]string{code, policy}, true); !said {
		Log(o.Logger, code, message, append([]any{"policy", policy}, args...)...)
	}
}
