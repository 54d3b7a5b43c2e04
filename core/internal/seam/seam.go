// Package seam is what a limiter lends to the packages of this module that adapters and
// the monitor are made of.
package seam

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/identity"
	"github.com/streamlimit/streamlimit/core/internal/warning"
)

// Seam is a limiter's. It does not change, but for the counts in it.
type Seam struct {
	Identity *identity.Identity
	Warnings *warning.Once // with the limiter's logger

	// Observers are the limiter's.
	Observers []any

	// Timeout is the time that the store's server has for one response; 0 means no
	// bound.
	Timeout time.Duration

	// Background runs a task that the limiter's Close waits for, and reports whether it
	// does: after Close none starts. Close cancels the task's context.
	Background func(task func(context.Context)) bool

	Settling Settling
}

// Settling is the state of the corrections that adapters make.
type Settling struct {
	UnderWay     atomic.Int64 // in the background
	Failed, Late warning.Rarely
}
