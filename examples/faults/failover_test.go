package faults

import (
	"testing"
	"time"
)

// The test checks lost entries one by one. Only entries that the replica lacked when the
// primary died may be lost. At most the limit plus these entries may be admitted.
func TestRow11_Failover(t *testing.T) {
	r := row(t, 11)
	f := readFigures(runCore(t, "./redisstream", "-run=^TestSentinelFailoverUnderLoad$", "-count", scale("1", "3")))
	r.Figure("a new primary after %.1f s, decisions back after %.1f s; %d of %d entries lost, none that the replica had",
		f.longest(t, "taken").Seconds(), f.longest(t, "back").Seconds(), f.sum(t, "lost"), f.sum(t, "admitted"))
}

func TestRow13_Cluster(t *testing.T) {
	r := row(t, 13)
	f := readFigures(runCore(t, "./redisstream", "-run=^Test(Reshard|ClusterFailover)UnderLoad$", "-count", scale("1", "3")))
	r.Figure("%d slots moved, %d decisions: %d errors, %d admitted too many; a primary killed: decisions back after %v, "+
		"%d of %d entries lost, %d logs of other slots without an error",
		f.sum(t, "moves"), f.sum(t, "decisions"), f.sum(t, "errors"), f.sum(t, "excess"),
		f.longest(t, "back").Round(100*time.Millisecond), f.sum(t, "lost"), f.sum(t, "admitted"), f.sum(t, "unharmed"))
}
