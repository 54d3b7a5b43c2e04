// Package background has what the goroutines of a limiter need: an owner that can end
// them, and ways to wait.
package background

import (
	"context"
	"sync"
	"time"
)

// Tasks are goroutines that end together. The zero Tasks has none.
type Tasks struct {
	mu      sync.Mutex
	ctx     context.Context // ends when the tasks must end; nil before the first task
	cancel  context.CancelFunc
	ended   bool
	running sync.WaitGroup
}

// Start runs a task until End is called. It reports whether the task runs: no task starts
// after End.
func (t *Tasks) Start(task func(context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	if t.ctx == nil {
		t.ctx, t.cancel = context.WithCancel(context.Background())
	}
	t.running.Go(func() { task(t.ctx) })
	return true
}

// End ends the tasks and waits for them.
func (t *Tasks) End() {
	t.mu.Lock()
	t.ended = true
	if t.cancel != nil {
		t.cancel()
	}
	t.mu.Unlock()
	t.running.Wait()
}

// Sleep waits for d, and returns true. It returns false as soon as ctx ends.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
