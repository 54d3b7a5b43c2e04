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

// TestTimeCountsDown: the time until more units are free comes from the log, and
// decreases.
func TestTimeCountsDown(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	policy := core.NewPolicy("strict", core.Per(2, 20*time.Second))
	here.ask(policy, "192.0.2.1", 3)
	b := open(t, here.page())
	b.live()
	b.goTo("strict", "192.0.2.1")
	b.await("a full bar", `document.querySelector(".usage").dataset.level === "full" && document.querySelector(".meter").ariaValueNow === "2"`)
	wait := func() float64 {
		return eval[float64](b, `Number(document.querySelector(".next").textContent.match(/^none free, more in ([\d.]+) s/)?.[1] ?? NaN)`)
	}
	first := wait()
	time.Sleep(2 * time.Second)
	if second := wait(); !(first <= 20 && second > 0 && second < first) {
		t.Errorf("more in %v s, two seconds later in %v s", first, second)
	}
	b.await("that it is free", `document.querySelector(".verdict").dataset.allowed === "true" && document.querySelector(".meter").ariaValueNow === "0"`)
}

// TestRequestsInFlight: under a concurrency policy the page shows the requests in flight,
// and no rate. A replay of renewals would say nothing.
func TestRequestsInFlight(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	here, there := newProcess(t, redis), newProcess(t, redis)
	uploads := core.NewConcurrency("uploads", 3, time.Minute)
	const key = "user=ann"
	slots := make([]*core.Slot, 3)
	for i := range slots {
		slot, err := there.limiter.Acquire(t.Context(), uploads, key)
		must(t, err)
		defer slot.Release()
		slots[i] = slot
	}
	b := open(t, here.page())
	b.live()
	b.await("the policy", `[...document.querySelectorAll("[data-policy=uploads] .tag")].some((tag) => tag.textContent === "3 in flight, hold 1m")`)
	if text := eval[string](b, `document.querySelector("[data-policy=uploads]").innerText`); strings.Contains(text, "3/minute") {
		t.Errorf("the policy's tile has a rate: %s", text)
	}
	b.goTo("uploads", key)
	b.await("full slots", `document.querySelector(".usage").innerText.replace(/\s+/g, " ") === "3 in flight, hold 1m 3 of 3 in flight none free until a request ends" &&
		document.querySelector(".verdict").textContent === "denied until a request ends." && document.querySelector(".verdict").dataset.allowed === "false"`)
	b.await("the renewals", `[...document.querySelectorAll("#key .muted")].some((p) => p.checkVisibility() &&
		p.textContent.match(/^The oldest renewal of a slot was [\d.]+ s ago\. A slot that is not renewed is free after 1 min\.$/))`)
	b.await("no replay", `!document.querySelector(".replay").checkVisibility()`)
	slots[0].Release()
	b.await("a free slot", `document.querySelector(".usage b").textContent === "2 of 3 in flight" && document.querySelector(".next").textContent === "1 free" &&
		document.querySelector(".verdict").textContent === "a request would be allowed now."`)

	eval[bool](b, `(location.hash = "#/", true)`)
	b.press("Override…")
	b.await("the dialog", `document.querySelector("#override-limits").value === "3/minute" && document.querySelector("#override-help").textContent.includes("requests in flight")`)
	b.enter("#override-limits", "9/30s")
	b.confirm("Override", "uploads is now limited to 9 in flight, hold 30s.")
	b.await("the rule", `document.querySelector("#rules").innerText.includes("uploads: 9 in flight, hold 30s")`)
	b.goTo("uploads", key)
	b.await("the other limit", `document.querySelector(".usage b").textContent === "2 of 9 in flight"`)
	b.press("Reset…")
	b.await("what a reset does", `document.querySelector("#dialog-text").textContent.includes("requests in flight go on")`)
	b.confirm("Reset", "has been reset")
	b.await("that none is in flight", `document.querySelector(".usage b").textContent === "0 of 9 in flight" && document.querySelector(".next").textContent === "9 free"`)
	<-slots[1].Lost()
}

// TestUsedSince: for a calendar limit, the page shows what was used since the period
// began, and when all is back. The replay has the limits that slide.
func TestUsedSince(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	const key = "user=ann"
	month := core.NewPolicy("month", core.PerCalendarMonth(3, time.UTC))
	both := core.NewPolicy("both", core.PerMinute(5), core.PerCalendarDay(1000, time.UTC))
	here.ask(month, key, 4)
	here.ask(both, key, 2)
	b := open(t, here.page())
	b.live()
	b.await("the policies", `[...document.querySelectorAll("[data-policy] .tag.limit")].map((tag) => tag.textContent).sort().join() === "1000/day@UTC,3/month@UTC,5/minute"`)
	// usage returns an expression for what the page shows of a limit.
	usage := func(limit string) string {
		return fmt.Sprintf(`[...document.querySelectorAll(".usage")].find((e) => e.innerText.startsWith(%q))?.innerText.replace(/\s+/g, " ")`, limit)
	}
	b.goTo("month", key)
	now := time.Now().UTC()
	since := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC).Local().Format("02/01/2006 15:04:05")
	b.await("the month", usage("3/month@UTC")+`.match(/^3\/month@UTC 3 of 3 used since %s none free, all back in ([\d.]+ (d|h|min|s) ?)+$/)`, strings.ReplaceAll(since, "/", `\/`))
	b.await("when the next request fits", `document.querySelector(".verdict").textContent.startsWith("denied, the next request fits in ")`)
	b.await("no replay", `!document.querySelector(".replay").checkVisibility()`)

	b.goTo("both", key)
	b.await("the day", usage("1000/day@UTC")+`.match(/^1000\/day@UTC 2 of 1,000 used since [\d/]+ [\d:]+ 998 free, all back in /)`)
	b.await("the minute", usage("5/minute")+`.match(/^5\/minute 2 of 5 used 3 free, more in /)`)
	b.await("the replay of the minute", `document.querySelector(".replay").checkVisibility() && document.querySelectorAll(".entry").length === 2 &&
		document.querySelector(".readout").textContent.startsWith("2 of 5 used at ")`)
}
