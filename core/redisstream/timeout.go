package redisstream

import (
	"time"

	"github.com/streamlimit/streamlimit/core/store"
)

var _ store.Bounded = (*Store)(nil)

// Timeout implements [store.Bounded]. It returns what [WithTimeout] set, without the
// wait bound. A request that waited for its decision in the queue does not
// wait there again for its correction.
func (s *Store) Timeout() time.Duration { return s.transport.timeout }
