package core

import (
	"context"
	"sync"
)

// tasks are the goroutines of a limiter.
type tasks struct {
	mu      sync.Mutex
	ctx     context.Context // ends when they have to; nil until the first
	cancel  context.CancelFunc
	ended   bool
	running sync.WaitGroup
}

// start runs a task until end is called, and reports whether it does: after that
// none starts.
func (t *tasks) start(task func(context.Context)) bool {
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

// end ends the tasks and waits for them.
func (t *tasks) end() {
	t.mu.Lock()
	t.ended = true
	if t.cancel != nil {
		t.cancel()
	}
	t.mu.Unlock()
	t.running.Wait()
}
