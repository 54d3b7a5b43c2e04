package adapter

import (
	"context"
	"sync"
	"time"
)

// Lend returns ctx for the length of one call. It is for contexts in memory that the
// framework reuses after the request. Something made from such a context, such as a
// timer that fires late, can outlive the call. It would then read the memory of another
// request.
func Lend(ctx context.Context) context.Context {
	return &loan{ctx: ctx, done: ctx.Done()}
}

// loan is a context that is not read after its end.
type loan struct {
	done <-chan struct{}

	mu  sync.RWMutex
	ctx context.Context // nil after the end
}

// recall ends ctx, if it was lent.
func recall(ctx context.Context) {
	if l, ok := ctx.(*loan); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ctx = nil
	}
}

func (l *loan) Done() <-chan struct{} { return l.done }

func (l *loan) Deadline() (deadline time.Time, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.ctx == nil {
		return time.Time{}, false
	}
	return l.ctx.Deadline()
}

func (l *loan) Err() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.ctx == nil {
		return context.Canceled
	}
	return l.ctx.Err()
}

func (l *loan) Value(key any) any {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.ctx == nil {
		return nil
	}
	return l.ctx.Value(key)
}
