package httplimit

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// There are never more pauses than the bound. Those that are over go first, and then the
// one that ends first.
func TestPausesBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pauses
		for i := range 3 * maxPauses {
			p.begin(strconv.Itoa(i), time.Now().Add(time.Hour+time.Duration(i)*time.Second))
		}
		if len(p.until) != maxPauses || p.left("0") > 0 || p.left(strconv.Itoa(3*maxPauses-1)) <= 0 {
			t.Errorf("%d pauses; the first one lasts %v", len(p.until), p.left("0"))
		}
		p.begin("short", time.Now().Add(time.Second))
		if len(p.until) != maxPauses || p.left("short") > 0 {
			t.Errorf("%d pauses; a short one lasts %v", len(p.until), p.left("short"))
		}
		time.Sleep(24 * time.Hour)
		p.begin("new", time.Now().Add(time.Second))
		if len(p.until) != 1 || p.left("new") != time.Second {
			t.Errorf("%d pauses a day later", len(p.until))
		}
		p.begin("new", time.Now().Add(time.Millisecond)) // does not make it shorter
		if left := p.left("new"); left != time.Second {
			t.Errorf("the pause is %v", left)
		}
		time.Sleep(time.Second)
		if p.left("new") > 0 || len(p.until) != 0 {
			t.Errorf("%d pauses at the end", len(p.until))
		}
	})
}
