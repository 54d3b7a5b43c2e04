package monitortest

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// becomes waits until a request in another process is allowed or denied. Rules and resets
// reach other processes within about a second.
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

// TestActions: an action on one process's page holds in other processes.
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
	b.confirm("Override", "strict is now limited to 1/hour")
	there.becomes(policy, key, false)
	b.await("the rule", `document.querySelector("#rules tbody").innerText.includes("strict: 1/hour")`)
	b.press("Restore…")
	b.confirm("Restore", "has its own limits again")
	there.becomes(policy, key, true)
	b.await("no rule", `document.querySelector("#rules .empty").checkVisibility()`)

	there.ask(policy, key, 5)
	there.becomes(policy, key, false)
	b.press("Switch…")
	b.confirm("Switch", "The switch of all policies to off holds")
	there.becomes(policy, key, true)
	b.await("the rule", `document.querySelector("#rules tbody").innerText.includes("all policies: off")`)
	b.goTo("strict", key)
	b.await("what the switch does", `document.querySelector(".verdict")?.textContent === "switched off, every request passes, uncounted."`)
	eval[bool](b, `Boolean(location.hash = "#/")`)
	b.press("Switch on…")
	b.confirm("Switch on", "The switch of all policies has ended")
	there.becomes(policy, key, false)
	b.await("no switch", `document.querySelector("#rules .empty").checkVisibility()`)
	b.press("Switch…")
	eval[bool](b, `Boolean(document.querySelector("#switch-policy").value = "strict")`)
	eval[bool](b, `Boolean(document.querySelector("#switch-mode").value = "shadow")`)
	b.enter("#length-count", "10")
	b.confirm("Switch", "The switch of strict to shadow holds for 10 min")
	b.await("the rule", `document.querySelector("#rules tbody").innerText.includes("strict: shadow")`)
	b.press("Switch on…")
	b.confirm("Switch on", "The switch of strict has ended")
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

// TestSearch finds keys by a part of their text, and opens unknown keys.
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

// TestSearchByCredential: a search for an API key finds the key with its digest. The API
// key is in no address, neither of the page nor of its requests.
func TestSearchByCredential(t *testing.T) {
	t.Parallel()
	const secret = "sk_live_51Hn8"
	here := newProcess(t, redistest.Start(t))
	key, err := adapter.CredentialKey(here.limiter, "x-api-key", secret)
	if err != nil {
		t.Fatal(err)
	}
	other, err := adapter.CredentialKey(here.limiter, "x-api-key", secret+"-other")
	if err != nil {
		t.Fatal(err)
	}
	policy := core.NewPolicy("api", core.PerHour(3))
	here.ask(policy, key, 4)
	var mu sync.Mutex
	var addresses []string
	h := monitor.New(here.limiter, here.recorder, monitor.WithAuthorize(anyone))
	b := open(t, here.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		addresses = append(addresses, r.RequestURI)
		mu.Unlock()
		h.ServeHTTP(w, r)
	})))
	b.live()
	b.await("the policy", `document.querySelector("[data-policy=api]")`)
	b.enter("#q", secret)
	b.await("the key", `document.querySelector("#found-keys tbody a")?.textContent === %q && document.querySelector("#found-keys td:last-child").textContent === "1, 3"`, key)
	_, digest, _ := strings.Cut(key, "=")
	b.await("the digest", `document.querySelector(".digest").checkVisibility() && document.querySelector(".digest").textContent === "As a credential, its digest is %s."`, digest)
	b.enter("#q", secret+"-other")
	b.await("where it may be", `document.querySelector(".guesses b")?.textContent === %q`, other)
	eval[bool](b, `(document.querySelector("#found-keys button.tag").focus(), true)`)
	b.do(enter())
	b.await("its page", `document.querySelector("#key-title")?.textContent === %q && document.querySelector(".meter")?.ariaValueNow === "0"`, other)
	b.enter("#q", "x-api-key="+secret)
	b.await("the key again", `document.querySelector("#found-keys tbody a")?.textContent === %q`, key)
	mu.Lock()
	defer mu.Unlock()
	for _, address := range append(addresses, eval[string](b, "location.href")) {
		if strings.Contains(address, secret) {
			t.Errorf("the credential is in %s", address)
		}
	}
}

// TestBlockAndExempt: a network is blocked and exempt on the page, for all processes.
func TestBlockAndExempt(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	here, there := newProcess(t, redis), newProcess(t, redis)
	policy := core.NewPolicy("strict", core.PerHour(1))
	b := open(t, here.page())
	b.live()
	b.press("Block…")
	b.enter("#client", "198.51.100.77/24")
	b.confirm("Block", "198.51.100.77/24 is blocked.")
	there.becomes(policy, "198.51.100.9", false)
	b.await("the rule", `document.querySelector("#rules tbody").innerText.replace(/\s+/g, " ").startsWith("block 198.51.100.0/24 never Unblock…")`)
	b.press("Exempt…")
	b.enter("#client", "user=ann")
	b.enter("#length-count", "10")
	b.confirm("Exempt", "user=ann is exempt for 10 min.")
	there.ask(policy, "user=ann", 1)
	for deadline := time.Now().Add(patience); there.ask(policy, "user=ann", 3) != 3; {
		if time.Now().After(deadline) {
			t.Fatal("user=ann is still limited")
		}
	}
	b.await("the policy", `document.querySelector("[data-policy=strict]")`)
	b.goTo("strict", "198.51.100.9")
	b.await("that it is blocked", `document.querySelector(".verdict").textContent === "blocked by 198.51.100.0/24, every request is denied."`)
	b.press("Unblock…")
	b.confirm("Unblock", "198.51.100.0/24 is not blocked any more.")
	there.becomes(policy, "198.51.100.9", true)
	b.goTo("strict", "user=ann")
	b.await("that it is exempt", `document.querySelector(".verdict").textContent.match(/^exempt for (10|9) min.*, every request passes, uncounted\.$/)`)
	b.press("End exemption…")
	b.confirm("End", "user=ann is not exempt any more.")
	eval[bool](b, `(location.hash = "#/", true)`)
	b.await("no rule", `document.querySelector("#rules .empty").checkVisibility()`)
}

// TestActionWithoutRedis: if the store did not confirm an action, the page shows this,
// with advice.
func TestActionWithoutRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	here := newProcess(t, redis)
	policy := core.NewPolicy("strict", core.PerHour(3))
	here.ask(policy, "192.0.2.1", 1)
	b := open(t, here.page())
	b.live()
	b.goTo("strict", "192.0.2.1")
	b.press("Ban…")
	b.await("the dialog", `document.querySelector("dialog").open`)
	redis.Kill()
	b.press("Ban")
	b.await("what is not known", `document.querySelector("#dialog-error").textContent === %q`,
		"It may not have worked: the store does not answer. Check this page before you try again.")
	b.forgive("503")
}
