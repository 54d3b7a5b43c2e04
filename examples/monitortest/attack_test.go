package monitortest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// TestMarkupStaysText, wherever the page shows a key.
func TestMarkupStaysText(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	policy := core.NewPolicy("strict", core.PerHour(2))
	for _, key := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `javascript:alert(1)`} {
		here.ask(policy, key, 3)
		if err := here.limiter.Ban(t.Context(), key, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, here.page())
	b.live()
	b.await("the keys", `[...document.querySelectorAll("#top-denied a")].some((a) => a.textContent === "<script>alert(1)</script>")`)
	b.await("the rules", `document.querySelector("#rules tbody").innerText.includes("<script>alert(1)</script>")`)
	b.enter("#q", "<script>")
	b.await("what was found", `document.querySelector("#found-keys a")?.textContent === "<script>alert(1)</script>"`)
	for _, key := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `javascript:alert(1)`} {
		b.goTo("strict", key)
		b.press("Unban…")
		b.confirm("Unban", key)
	}
	if strange := eval[int](b, `document.querySelectorAll("script:not([src='./app.js']), img, iframe, [onerror], [href^='javascript']").length`); strange != 0 {
		t.Errorf("%d elements that no page of ours has", strange)
	}
}

// TestCrossSite: a page of another site in the same browser can do nothing.
func TestCrossSite(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	h := monitor.New(here.limiter, here.recorder, monitor.WithAuthorize(anyone))
	var mu sync.Mutex
	statuses := map[int]int{}
	target := here.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorded := httptest.NewRecorder()
		h.ServeHTTP(recorded, r)
		mu.Lock()
		statuses[recorded.Code]++
		mu.Unlock()
		w.WriteHeader(recorded.Code)
	}))
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<iframe name="frame"></iframe>
			<form target="frame" method="post" enctype="text/plain" action="%[1]sapi/ban"><input name='{"key":"192.0.2.1","seconds":60,"x":"' value='"}'></form>
			<script>
			const body = '{"key":"192.0.2.1","seconds":60}';
			document.forms[0].submit();
			Promise.allSettled([
				fetch('%[1]sapi/ban', { method: 'POST', mode: 'no-cors', body }),
				fetch('%[1]sapi/ban', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }),
				fetch('%[1]sapi/ban', { method: 'POST', mode: 'no-cors', body: new Blob([body], { type: 'application/json' }) }),
			]).then(() => setTimeout(() => { document.title = 'tried'; }, 500));
			</script>`, target)
	}))
	t.Cleanup(evil.Close)
	b := open(t, strings.Replace(evil.URL, "127.0.0.1", "localhost", 1))
	b.await("the attempts", `document.title === "tried"`)
	b.forgive("asked another host")
	b.forgive("logged")

	mu.Lock()
	defer mu.Unlock()
	if statuses[http.StatusForbidden] < 2 || statuses[http.StatusNoContent] > 0 || statuses[http.StatusOK] > 0 {
		t.Errorf("statuses %v, want only refusals", statuses)
	}
	if rules, err := here.limiter.Rules(t.Context()); err != nil || len(rules) > 0 {
		t.Errorf("rules %v, %v; want none", rules, err)
	}
}

// TestLink: the link gives a browser access, typed or followed from another site. The
// browser is then at an address without the token. Another name for the server gives the
// same browser no access.
func TestLink(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	link := here.page()
	address, _, _ := strings.Cut(link, "?")
	there := func(b *tab) {
		t.Helper()
		b.live()
		if at := eval[string](b, "location.href + document.cookie + document.referrer"); at != address {
			t.Errorf("at %s", at)
		}
		if n := eval[int](b, `performance.getEntriesByType("navigation")[0].name.includes("token") ? 1 : 0`); n != 0 {
			t.Error("the page's address has the token")
		}
	}
	typed := open(t, link)
	there(typed)
	typed.do(chromedp.Navigate(strings.Replace(address, "127.0.0.1", "rebound.example", 1)))
	typed.await("the refusal", `document.body.textContent.includes("open the monitor with the link")`)
	typed.forgive("asked another host")
	typed.forgive("401")
	typed.do(chromedp.Navigate(address)) // again, with the cookie
	there(typed)

	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<a href=%q>link</a>`, link)
	}))
	t.Cleanup(other.Close)
	followed := open(t, strings.Replace(other.URL, "127.0.0.1", "other.example", 1))
	eval[bool](followed, `(document.querySelector("a").click(), true)`)
	followed.await("the page", `location.host !== %q`, strings.TrimPrefix(other.URL, "http://"))
	followed.await("the page", `document.querySelector("#link")`)
	there(followed)
	followed.forgive("asked another host")
}

// TestLogin: without the password the page shows nothing, and with it everything works.
func TestLogin(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	address := here.page(monitor.WithPassword("correct horse"))
	for _, path := range []string{"", "app.js", "style.css", "api/state", "api/live", "api/key?policy=a&key=b", "api/search?q=a"} {
		resp, err := client.Get(address + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" || strings.Contains(string(body), "<") {
			t.Errorf("%s: status %d, %.100s", path, resp.StatusCode, body)
		}
	}
	resp, err := client.Post(address+"api/ban", "application/json", strings.NewReader(`{"key":"192.0.2.1","seconds":60}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if rules, err := here.limiter.Rules(t.Context()); resp.StatusCode != http.StatusUnauthorized || err != nil || len(rules) > 0 {
		t.Errorf("status %d, rules %v, %v; want 401 and none", resp.StatusCode, rules, err)
	}

	b := open(t, strings.Replace(address, "http://", "http://ann:correct%20horse@", 1))
	b.live()
	here.ask(core.NewPolicy("strict", core.PerHour(2)), "192.0.2.1", 3)
	b.await("the policy", `document.querySelector("[data-policy=strict]")`)
	b.goTo("strict", "192.0.2.1")
	b.press("Ban…")
	b.confirm("Ban", "is banned")
}

// TestLoggedOut: a page with an invalid cookie shows this, with advice.
func TestLoggedOut(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	here.ask(core.NewPolicy("api", core.PerHour(3)), "ann", 1)
	var out atomic.Bool
	b := open(t, here.page(monitor.WithAuthorize(func(*http.Request) bool { return !out.Load() })))
	b.live()
	b.await("the policy", `document.querySelector("[data-policy=api]")`)
	b.goTo("api", "ann")
	out.Store(true)
	b.failed("api", "ann", "This key can’t be read now: the server rejects the login: reload the page to log in, or follow its link again.")
	out.Store(false)
	b.press("Retry")
	b.await("the key", `document.querySelector(".verdict")?.checkVisibility()`)
	b.forgive("403")
}
