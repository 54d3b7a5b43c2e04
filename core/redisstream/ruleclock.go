package redisstream

import (
	"sync/atomic"
	"time"
)

// ruleClock is the clock of the server that has the rules, as its replies tell it. It
// is this process's before the first, and does not step when the machine's is set.
type ruleClock struct{ ahead atomic.Int64 } // of this process's, nanoseconds

// own returns this process's time, which does not step.
func own() time.Time { return epoch.Add(time.Since(epoch)) }

func (c *ruleClock) now() time.Time { return own().Add(time.Duration(c.ahead.Load())) }

// set takes over the server's time from a reply to what was sent at a moment, by own.
// The server had that time between the two, so what is known changes only as far as it
// can't be true: slow replies don't make the clock jump.
func (c *ruleClock) set(server, sent time.Time) {
	least, most := int64(server.Sub(own())), int64(server.Sub(sent))
	for {
		ahead := c.ahead.Load()
		if c.ahead.CompareAndSwap(ahead, min(max(ahead, least), most)) {
			return
		}
	}
}

// RuleTime implements [store.Store].
func (s *Store) RuleTime() time.Time { return s.clock.now() }
