package redisstream

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// leaseScript runs refunded.lua in the mode lease, under a test clock.
type leaseScript struct {
	testing.TB
	rdb    *redis.Client
	source string
	limits []any // max, window
}

const leaseLog = "{lease}:log"

func newLeaseScript(t testing.TB, limits ...any) *leaseScript {
	server := redistest.Start(t)
	rdb := redis.NewClient(server.Options())
	t.Cleanup(func() { rdb.Close() })
	return &leaseScript{t, rdb, clockSource + strings.TrimPrefix(refunded.source, "#!lua\n"), limits}
}

func (s *leaseScript) run(now int64, args ...any) []int64 {
	s.Helper()
	reply, err := s.rdb.Eval(s.Context(), s.source, []string{leaseLog, "{lease}"}, append(args, now)...).Int64Slice()
	if err != nil {
		s.Fatal(err)
	}
	return reply
}

// lease takes up to ahead units ahead, and units for wants. Each want is three numbers.
func (s *leaseScript) lease(now, ahead int64, wants ...any) []int64 {
	s.Helper()
	args := append([]any{"lease", ahead, 1000, 0}, s.limits...)
	args = append(args, wants...)
	return s.run(now, append(args, len(wants)/3)...)
}

func (s *leaseScript) wants(got []int64, want ...int64) {
	s.Helper()
	if !slices.Equal(got, want) {
		s.Errorf("got %v, want %v", got, want)
	}
}

const leaseNow = 1_800_000_000_000

// TestLeaseSize: at most a quarter of the units that are left, and an eighth of each
// limit, are taken ahead. Near the limit, no units are taken ahead.
func TestLeaseSize(t *testing.T) {
	s := newLeaseScript(t, 100, 1000)
	s.wants(s.lease(leaseNow, 5, 1, 1, 1), 100, 5, 1000, 6, 1000, leaseNow, 6)
	s.wants(s.lease(leaseNow, 1000, 1, 1, 1), 94, 12, 1000, 19, 1000, leaseNow, 19)
	s.wants(s.lease(leaseNow, 1000, 41, 1, 1), 81, 10, 1000, 70, 1000, leaseNow, 70)
	s.wants(s.lease(leaseNow, 1000, 27, 1, 1), 30, 0, 1000, 97, 1000, leaseNow, 97)
	s.wants(s.lease(leaseNow, 1000), 3, 0, 1000, 97, 1000, 0, 0) // nothing is written
	s.wants(s.lease(leaseNow, 1000, 4, 1, 1), 3, 0, 1000, 100, 1000, leaseNow, 100, 1, 1000)
	if n := s.rdb.XLen(t.Context(), leaseLog).Val(); n != 5 {
		t.Errorf("%d entries, want 5", n)
	}
	two := newLeaseScript(t, 1000, 1000, 80, 500)
	two.wants(two.lease(leaseNow, 1000, 1, 1, 1), 80, 10, 1000, 11, 1000, 11, 500, leaseNow, 11)
}

// TestLeaseOrder: requests get units in order of arrival, each request if there is room
// for it.
func TestLeaseOrder(t *testing.T) {
	s := newLeaseScript(t, 100, 1000)
	s.lease(leaseNow, 0, 90, 1, 1)
	// Three requests of 1 unit, one of 9, which has no room, one of up to 5, and three of
	// 1.
	s.wants(s.lease(leaseNow+10, 0, 3, 1, 1, 1, 9, 9, 1, 1, 5, 3, 1, 1), 10, 0, 1000, 100, 990, leaseNow+10, 100, 9, 990, 1, 990)
	s.wants(s.lease(leaseNow+20, 0, 2, 1, 5), 0, 0, 990, 100, 980, 0, 0, 1, 980)
	s.wants(s.lease(leaseNow+1000, 0, 1, 91, 91, 1, 1, 7), 90, 0, 1000, 17, 10, leaseNow+1000, 107, 91, 10)
}

// TestLeaseReturn: units that are returned within the grace can be taken again. A later
// return has no effect.
func TestLeaseReturn(t *testing.T) {
	s := newLeaseScript(t, 20, 1000)
	s.wants(s.lease(leaseNow, 2, 18, 1, 1), 20, 0, 1000, 18, 1000, leaseNow, 18)
	const grace = 100
	correct := func(now, units int64) int64 {
		return s.run(now, "correct", units, 1000, 0, grace, "1800000000000-18")[0]
	}
	if correct(leaseNow+grace, -2) != 1 {
		t.Error("a return was refused")
	}
	s.wants(s.lease(leaseNow+grace, 0, 1, 4, 4), 4, 0, 1000, 20, 900, leaseNow+grace, 23)
	if correct(leaseNow+grace+1, -2) != 0 {
		t.Error("a late return was accepted")
	}
}
