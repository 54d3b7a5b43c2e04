package core_test

import (
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/storetest"
)

func TestMemoryConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		New: func(_ testing.TB, clock *storetest.Clock) core.Store {
			return core.NewMemory(core.WithClock(clock.Now))
		},
		NewReal: func(testing.TB) core.Store { return core.NewMemory() },
	})
}
