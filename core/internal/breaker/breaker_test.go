package breaker

import (
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func TestFailuresInARowOpen(t *testing.T) {
	var b Breaker
	for i := range 4 {
		if b.Fail(at(10 * i)) {
			t.Fatalf("opened by failure %d", i+1)
		}
	}
	if !b.Failing() || b.Open() {
		t.Errorf("failing %t, open %t after four failures", b.Failing(), b.Open())
	}
	if !b.Fail(at(40)) || !b.Open() {
		t.Error("not opened by the fifth failure in a row")
	}
	if b.Fail(at(50)) {
		t.Error("opened twice")
	}
	b.Close()
	if b.Open() || b.Failing() {
		t.Error("open or failing after Close")
	}
}

func TestSuccessEndsARow(t *testing.T) {
	var b Breaker
	for i := range 9 {
		if i == 4 {
			b.Succeed(at(i * 10))
		}
		if opened := b.Fail(at(10 * i)); opened != (i == 8) {
			t.Fatalf("failure %d: opened %t", i+1, opened)
		}
	}
}

func TestFailuresAtOneMomentAreOne(t *testing.T) {
	var b Breaker
	for range 1000 {
		if b.Fail(at(0)) {
			t.Fatal("opened by failures at one moment")
		}
	}
	if !b.Fail(at(10)) {
		t.Error("not opened by a failure 10 ms later")
	}
}

func TestHalfOfTwentyWithinASecondOpens(t *testing.T) {
	for _, test := range []struct {
		step  int // milliseconds between outcomes
		ratio int // every ratio-th outcome is a failure
		opens bool
	}{
		{step: 10, ratio: 2, opens: true},
		{step: 10, ratio: 3, opens: false},
		{step: 60, ratio: 2, opens: false}, // fewer than 20 in a second
	} {
		var b Breaker
		opened := false
		for i := range 90 {
			if i%test.ratio == 0 {
				opened = b.Fail(at(i*test.step)) || opened
			} else {
				b.Succeed(at(i * test.step))
			}
		}
		if opened != test.opens {
			t.Errorf("an outcome each %d ms, every %d a failure: opened %t", test.step, test.ratio, opened)
		}
	}
}
