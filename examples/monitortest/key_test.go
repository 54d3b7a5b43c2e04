package monitortest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// entry is one of a log, or a mark on the page for one.
type entry struct {
	T, Cost, Refund int64
}

// TestReplayIsTheStream: the page shows the stream's entries, and their count at each
// instant.
func TestReplayIsTheStream(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	here, there := newProcess(t, redis), newProcess(t, redis)
	policy := core.NewPolicy("tokens", core.PerMinute(20), core.VariableCost(), core.Refundable(0))
	for i, cost := range []int64{3, 1, 5, 2, 4, 1} {
		d, err := there.limiter.AllowN(t.Context(), policy, "user=ann", cost)
		if err != nil || !d.Allowed {
			t.Fatal(d, err)
		}
		time.Sleep(30 * time.Millisecond) // the server's clock gives entries their times
		if i%2 == 0 {
			if err := there.limiter.Settle(t.Context(), d, cost-1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Millisecond)
		}
	}
	b := open(t, here.page())
	b.live()
	b.await("the policy", `document.querySelector("[data-policy=tokens]")`)
	b.goTo("tokens", "user=ann")

	want := stream(t, redis, policy)
	if len(want) != 9 {
		t.Fatalf("%d entries, want 6 and 3 refunds", len(want))
	}
	b.await("the entries", `document.querySelectorAll(".entry").length === %d`, len(want))
	got := eval[[]entry](b, `[...document.querySelectorAll(".entry")].map((e) => ({ T: +e.dataset.t, Cost: +e.dataset.cost, Refund: +e.dataset.refund }))`)
	slices.Reverse(got) // newest first
	if !slices.Equal(got, want) {
		t.Errorf("the page has %v,\nthe stream   %v", got, want)
	}
	if rows := eval[int](b, `document.querySelectorAll(".replay tbody tr").length`); rows != len(want) {
		t.Errorf("%d rows, want %d", rows, len(want))
	}

	// The bar agrees with the log, and each instant with its entries.
	b.await("the bar", `document.querySelector(".meter").ariaValueText === "13 of 20"`)
	var count int64
	for _, e := range want {
		count += e.Cost - e.Refund
		seek(b, e.T)
		if text := eval[string](b, `document.querySelector(".readout").textContent`); !strings.HasPrefix(text, fmt.Sprintf("%d of 20 used at ", count)) {
			t.Errorf("after %+v: %q, want %d", e, text, count)
		}
	}
	seek(b, want[0].T+60_000-1)
	b.await("the last instant of the first entry", `document.querySelector(".readout").textContent.startsWith("13 of 20")`)
	seek(b, want[0].T+60_000)
	b.await("that it leaves", `document.querySelector(".readout").textContent.startsWith("10 of 20")`)

	// Played to its end, the window is empty; a ban is shown on the way.
	b.press("Ban…")
	b.confirm("Ban", "banned for 10 min")
	b.press("Back to now")
	b.await("the ban on the time line", `Number(document.querySelector(".banned").getAttribute("width")) > 0 && document.querySelector(".verdict").textContent.startsWith("banned for 9 min")`)
	b.press("Play")
	b.await("that entries are still to come", `document.querySelectorAll(".entry.later").length > 0`)
	b.await("the end", `document.querySelector(".readout").textContent.startsWith("0 of 20") && document.querySelectorAll(".entry.later").length === 0`)
}

func seek(b *tab, instant int64) {
	eval[bool](b, `(() => { const s = document.querySelector("input[type=range]"); s.value = %d; return s.dispatchEvent(new Event("input")); })()`, instant)
}

// stream returns the log of a policy's only key in Redis, oldest first.
func stream(t *testing.T, redis *redistest.Server, policy *core.Policy) (entries []entry) {
	t.Helper()
	client := redis.Client()
	keys, err := client.Keys(t.Context(), "*"+policy.Log().Name+"*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d logs, want 1: %v", len(keys), err)
	}
	messages, err := client.XRange(t.Context(), keys[0], "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		ms, _, _ := strings.Cut(m.ID, "-")
		at, err1 := strconv.ParseInt(ms, 10, 64)
		units, err2 := strconv.ParseInt(m.Values["c"].(string), 10, 64)
		if err1 != nil || err2 != nil {
			t.Fatalf("not an entry: %v", m)
		}
		entries = append(entries, entry{at, max(units, 0), max(-units, 0)})
	}
	return entries
}

// TestSlotCountsDown: the time to the next slot is by the log, and decreases.
func TestSlotCountsDown(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	policy := core.NewPolicy("strict", core.Per(2, 20*time.Second))
	here.ask(policy, "192.0.2.1", 3)
	b := open(t, here.page())
	b.live()
	b.goTo("strict", "192.0.2.1")
	b.await("a full bar", `document.querySelector(".usage").dataset.level === "full" && document.querySelector(".meter").ariaValueNow === "2"`)
	wait := func() float64 {
		return eval[float64](b, `Number(document.querySelector(".next").textContent.match(/next slot in ([\d.]+) s/)?.[1] ?? NaN)`)
	}
	first := wait()
	time.Sleep(2 * time.Second)
	if second := wait(); !(first <= 20 && second > 0 && second < first) {
		t.Errorf("next slot in %v s, two seconds later in %v s", first, second)
	}
	b.await("that it is free", `document.querySelector(".verdict").dataset.allowed === "true" && document.querySelector(".meter").ariaValueNow === "0"`)
}
