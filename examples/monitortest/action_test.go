package monitortest

import (
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// becomes waits until a request elsewhere is allowed or denied, as rules and resets
// reach other processes within a second or so.
func (p *process) becomes(policy *core.Policy, key string, allowed bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		d, err := p.limiter.Peek(p.t.Context(), policy, key)
		if err == nil && d.Allowed == allowed {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("allowed: %v, %v; want %v", d.Allowed, err, allowed)
		}
	}
}

// TestActions: what is done on one process's page holds in another.
func TestActions(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	here, there := newProcess(t, redis), newProcess(t, redis)
	policy := core.NewPolicy("strict", core.PerHour(3))
	const key = "192.0.2.1"
	if got := there.ask(policy, key, 5); got != 3 {
		t.Fatalf("%d allowed, want 3", got)
	}
	b := open(t, here.page())
	b.live()
	b.await("the key", `document.querySelector("#top-denied a")?.textContent === %q`, key)
	eval[bool](b, `(document.querySelector("#top-denied a").focus(), true)`)
	b.do(enter())
	b.await("the key's page", `document.querySelector(".verdict")?.textContent.startsWith("denied")`)

	b.press("Reset…")
	b.confirm("Reset", "has been reset")
	b.await("a free key", `document.querySelector(".verdict").dataset.allowed === "true"`)
	there.becomes(policy, key, true)
	for deadline := time.Now().Add(patience); there.ask(policy, key, 1) != 1; {
		if time.Now().After(deadline) {
			t.Fatal("still denied after the reset")
		}
	}

	b.press("Ban…")
	b.await("the dialog", `document.querySelector("dialog").open`)
	b.press("Cancel")
	b.await("that nothing happens", `!document.querySelector("dialog").open && !document.querySelector("#said").textContent.includes("banned")`)
	there.becomes(policy, key, true)
	b.press("Ban…")
	b.confirm("Ban", "is banned for 10 min")
	there.becomes(policy, key, false)
	b.press("Unban…")
	b.confirm("Unban", "is not banned any more")
	there.becomes(policy, key, true)

	eval[bool](b, `Boolean(location.hash = "#/")`)
	b.press("Override…")
	b.enter("#override-limits", "5/fortnight")
	b.press("Override")
	b.await("what is wrong", `document.querySelector("dialog").open && document.querySelector("#dialog-error").textContent.includes("unknown unit")`)
	b.forgive("400")
	b.enter("#override-limits", "1/hour")
	b.confirm("Override", "strict is limited to 1/hour now")
	there.becomes(policy, key, false)
	b.await("the rule", `document.querySelector("#rules tbody").innerText.includes("strict: 1/hour")`)
	b.press("Restore…")
	b.confirm("Restore", "has its own limits again")
	there.becomes(policy, key, true)
	b.await("no rule", `document.querySelector("#rules .empty").checkVisibility()`)
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	policy := core.NewPolicy("strict", core.PerHour(3))
	here.ask(policy, "192.0.2.1", 5)
	b := open(t, here.page(monitor.WithReadOnly()))
	b.live()
	b.await("that it says so", `document.querySelector("#readonly").checkVisibility()`)
	b.await("the policy", `document.querySelector("[data-policy=strict]")`)
	b.goTo("strict", "192.0.2.1")
	if n := eval[int](b, `[...document.querySelectorAll("button")].filter((b) => b.checkVisibility() && /…/.test(b.textContent)).length`); n != 0 {
		t.Errorf("%d actions are offered", n)
	}
}

// TestSearch finds keys by a part of their text, and opens those that nobody knows.
func TestSearch(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	policy := core.NewPolicy("api", core.PerHour(3))
	for _, key := range []string{"user=ann", "user=anton", "user=bert"} {
		here.ask(policy, key, 2)
	}
	b := open(t, here.page())
	b.live()
	b.enter("#q", "user=an")
	b.await("both", `[...document.querySelectorAll("#found-keys a")].map((a) => a.textContent).sort().join() === "user=ann,user=anton"`)
	b.enter("#q", "user=carl")
	b.await("the way to it", `document.querySelector("#found-keys button.tag")?.textContent === "under api"`)
	eval[bool](b, `(document.querySelector("#found-keys button.tag").focus(), true)`)
	b.do(enter())
	b.await("its page", `document.querySelector("#key-title")?.textContent === "user=carl" && document.querySelector(".meter")?.ariaValueNow === "0"`)
	b.await("that its log is empty", `document.querySelector(".replay").textContent.includes("The log is empty")`)
}
