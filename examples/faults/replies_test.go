package faults

import "testing"

// After its reply was lost, each request is searched in its log: on a Ring, and in the
// full form also on a single server, behind Sentinel and on a Cluster.
func TestRow08_ReplyLost(t *testing.T) {
	t.Parallel()
	r := row(t, 8)
	f := readFigures(runCore(t, "./redisstream", "-run=^TestAtMostOnce$/"+scale("^ring$", "")))
	lost := f.sum(t, "lost")
	if want := scale(100, 1000); lost < want {
		t.Errorf("%d replies lost, want at least %d", lost, want)
	}
	r.Figure("%d replies lost, 0 requests counted twice", lost)
}

func TestRow09_ReplyCut(t *testing.T) {
	t.Parallel()
	r := row(t, 9)
	f := readFigures(runCore(t, "./redisstream", "-run=^(TestReplyCutAtEveryByte|TestGarbageForAReply)$"))
	r.Figure("%d offsets, 0 taken for a reply", f.sum(t, "offsets"))
}

func TestRow10_ScriptFlush(t *testing.T) {
	t.Parallel()
	r := row(t, 10)
	f := readFigures(runCore(t, "./redisstream", "-run=^TestScriptFlushUnderLoad$", "-count", scale("1", "5")))
	r.Figure("%d flushes, %d decisions: %d errors, %d admitted too many",
		f.sum(t, "flushes"), f.sum(t, "decisions"), f.sum(t, "errors"), f.sum(t, "excess"))
}
