// Package seam has the parts of a limiter for other packages of this module, such as
// adapter and monitor.
package seam

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/identity"
	"github.com/streamlimit/streamlimit/core/internal/warning"
)

// Seam belongs to one limiter. Only the counts in it change.
type Seam struct {
	Identity *identity.Identity
	Warnings *warning.Once // with the limiter's logger

	// Observers are the observers of the limiter.
	Observers []any

	// Timeout is the time that the store's server has for one response; 0 means no
	// bound.
	Timeout time.Duration

	// Background runs a task. It reports false after the limiter's Close, when no task
	// starts. Close cancels the task's context and waits for the task.
	Background func(task func(context.Context)) bool

	Settling Settling
}

// Settling is the state of the corrections that adapters make.
type Settling struct {
	UnderWay     atomic.Int64 // in the background
	Failed, Late warning.Rarely
}
