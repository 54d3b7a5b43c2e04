package monitortest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// TestLoadElsewhereAppears: decisions of another process are on the page within two
// seconds, in the median, since this machine may be busy.
func TestLoadElsewhereAppears(t *testing.T) {
	redis := redistest.Start(t)
	here, there := newProcess(t, redis), newProcess(t, redis)
	b := open(t, here.page())
	b.live()
	b.await("advice for when there is no policy", `document.querySelector("#policies + .empty").checkVisibility()`)

	var took []time.Duration
	for i := range 7 {
		policy := core.NewPolicy(fmt.Sprintf("policy-%d", i), core.PerMinute(5))
		begun := time.Now()
		if got := there.ask(policy, "192.0.2.1", 8); got != 5 {
			t.Fatalf("%d of 8 allowed, want 5", got)
		}
		b.await("the requests on the chart", `document.querySelector('[data-policy=%q] .area.denied')?.getAttribute("d")`, policy.Name())
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	t.Logf("on the page after %v", took)
	if median := took[len(took)/2]; median > 2*time.Second {
		t.Errorf("on the page after %v (median of %d), want 2s", median, len(took))
	}
	b.await("the key among those denied", `document.querySelector("#top-denied tbody")?.innerText.includes("192.0.2.1")`)
	here.ask(core.NewPolicy("own", core.PerMinute(5)), "192.0.2.2", 1)
	b.await("what happens without the store", `document.querySelector("[data-policy=own] .tags")?.textContent.includes("without the store: local")`)
	b.await("both processes", `document.querySelectorAll("#processes tbody tr").length === 2`)
	b.await("the last minute", `document.querySelector("[data-policy=policy-6] .counts").textContent.startsWith("Last minute: 5 allowed · 3 denied (38 %%)")`)
}

// TestChartsByKey: the figures of a moment are there without a mouse.
func TestChartsByKey(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	here.ask(core.NewPolicy("search", core.PerMinute(2)), "192.0.2.1", 3)
	b := open(t, here.page())
	b.live()
	for _, minutes := range []string{"5", "60"} {
		eval[bool](b, `(document.querySelector("input[value='%s']").click(), true)`, minutes)
		b.await("the chart", `document.querySelector("[data-policy=search] .axis").textContent.includes(%q)`, map[string]string{"5": "5 minutes ago", "60": "1 hour ago"}[minutes])
		b.await("the requests", `document.querySelector("[data-policy=search] .area.denied").getAttribute("d")`)
		eval[bool](b, `(document.querySelector("[data-policy=search] svg").focus(), true)`)
		found := false
		for i := range 60 {
			b.do(chromedp.KeyEvent([]string{kb.End, kb.ArrowLeft}[min(i, 1)]))
			label := eval[string](b, `document.querySelector("[data-policy=search] svg").ariaLabel`)
			if found = strings.Contains(label, " at ") && strings.Contains(label, "allowed") && !strings.Contains(label, ": 0 allowed"); found {
				break
			}
		}
		if !found {
			t.Errorf("%s minutes: no moment has the requests", minutes)
		}
	}
}

// TestConnectionLost: the page shows a lost connection, retries, and recovers.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	h := monitor.New(here.limiter, here.recorder, monitor.WithAuthorize(anyone))
	var away atomic.Bool
	outage, begin := context.WithCancel(t.Context()) // ends the streams
	b := open(t, here.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if outage.Err() == nil {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(outage, cancel)()
			r = r.WithContext(ctx)
		}
		h.ServeHTTP(w, r)
	})))
	b.live()
	away.Store(true)
	begin()
	b.await("the loss", `document.querySelector("#link").textContent === "connection lost" && document.querySelector("#lost").checkVisibility()`)
	b.await("why", `document.querySelector("#lost").textContent.startsWith("The connection is lost (status 502). The figures are from before. Trying again in ")`)
	away.Store(false)
	b.live()
	b.await("no banner", `!document.querySelector("#lost").checkVisibility()`)
	b.forgive("502")
}

// TestStreamsHeldUp: if something in between buffers responses, the page polls each
// second.
func TestStreamsHeldUp(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	h := monitor.New(here.limiter, here.recorder, monitor.WithAuthorize(anyone))
	b := open(t, here.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/live" && r.FormValue("poll") == "" {
			<-r.Context().Done()
			return
		}
		h.ServeHTTP(w, r)
	})))
	b.await("that it asks", `document.querySelector("#link").textContent === "live, by polling"`)
	here.ask(core.NewPolicy("search", core.PerMinute(2)), "192.0.2.1", 3)
	b.await("the requests", `document.querySelector("[data-policy=search] .area.denied")?.getAttribute("d") &&
		document.querySelector("[data-policy=search] .counts").textContent.startsWith("Last minute: 2 allowed · 1 denied")`)
}

// TestMountedBelow: the page uses only addresses relative to its own.
func TestMountedBelow(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	mux := http.NewServeMux()
	h := http.StripPrefix("/deep/down", monitor.New(here.limiter, here.recorder, monitor.WithAuthorize(anyone)))
	mux.Handle("/deep/down/", h)
	mux.Handle("/deep/down", h)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		here.recorder.Close()
		server.Close()
	})
	b := open(t, server.URL+"/deep/down")
	b.live()
	if at, _ := url.Parse(eval[string](b, "location.href")); at.Path != "/deep/down/" {
		t.Errorf("at %s", at)
	}
}

// TestEverythingHasAName: for screen readers, everything has a name and is in a landmark.
func TestEverythingHasAName(t *testing.T) {
	t.Parallel()
	here := newProcess(t, redistest.Start(t))
	policy := core.NewPolicy("search", core.PerSecond(5), core.PerMinute(10))
	here.ask(policy, "192.0.2.1", 6)
	b := open(t, here.page())
	b.live()
	b.await("the chart", `document.querySelector("[data-policy=search] svg")?.ariaLabel`)
	b.named("RootWebArea", "banner", "search", "main", "region", "heading", "button", "radio", "searchbox", "link", "table")
	b.goTo("search", "192.0.2.1")
	b.named("button", "slider", "meter", "combobox", "heading", "region")
}
