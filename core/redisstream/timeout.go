package redisstream

import (
	"time"

	"github.com/streamlimit/streamlimit/core"
)

var _ core.Bounded = (*Store)(nil)

// Timeout implements [core.Bounded]. It returns what [WithTimeout] set.
func (s *Store) Timeout() time.Duration { return s.transport.timeout }
