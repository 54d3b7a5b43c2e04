package monitortest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience bounds the waits of a test, for busy machines.
const patience = 30 * time.Second

// tab is a page in a browser of its own. At the end of the test the page must have had no
// errors, and no requests to other hosts.
type tab struct {
	t    *testing.T
	ctx  context.Context
	host string

	mu    sync.Mutex
	wrong []string
}

// open shows a page.
func open(t *testing.T, address string) *tab {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	// Containers have no sandbox, and the page is our own.
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.NoSandbox,
		chromedp.WindowSize(1280, 900), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("host-resolver-rules", "MAP *.example 127.0.0.1"))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, host: at.Host}
	if err := chromedp.Listen(ctx, b.event); err != nil {
		t.Fatalf("no Chromium or Chrome to test with, get one with `make chromium`: %v", err)
	}
	_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	b.must("log", err)
	_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	b.must("log", err)
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, text := range b.wrong {
			t.Error(text)
		}
	})
	b.do(chromedp.Navigate(address))
	return b
}

// icon is a file that a browser requests by itself, for pages of others.
const icon = "/favicon.ico"

// event records errors.
func (b *tab) event(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	note := func(format string, args ...any) { b.wrong = append(b.wrong, fmt.Sprintf(format, args...)) }
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		note("exception: %s", text)
	case *runtime.EventConsoleAPICalled:
		note("the console has a message (%s)", e.Type)
	case *log.EventEntryAdded:
		if strings.HasSuffix(e.Entry.URL, icon) {
			return
		}
		note("logged: %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case *page.EventJavascriptDialogOpening:
		note("a script has run: %s", e.Message)
	case *network.EventRequestWillBeSent:
		to, err := url.Parse(e.Request.URL)
		if err != nil || to.Scheme != "data" && to.Host != b.host && to.Path != icon {
			note("asked another host: %s", e.Request.URL)
		}
	}
}

// forgive removes expected errors, and fails if there are none.
func (b *tab) forgive(text string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.wrong)
	b.wrong = slices.DeleteFunc(b.wrong, func(wrong string) bool { return strings.Contains(wrong, text) })
	if len(b.wrong) == before {
		b.t.Errorf("nothing was logged about %q", text)
	}
}

func (b *tab) must(what string, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	b.must("browser", chromedp.Do(ctx, steps...))
}

// eval returns the value of an expression in the page.
func eval[T any](b *tab, expression string, args ...any) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](fmt.Sprintf(expression, args...), chromedp.EvalAwaitPromise))
	b.must(expression, err)
	return value
}

// holds reports whether an expression is true. It is not while the page changes, or
// lacks an element.
func (b *tab) holds(expression string, args ...any) bool {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	is, err := chromedp.Run(ctx, chromedp.Evaluate[bool](fmt.Sprintf("Boolean("+expression+")", args...)))
	if err != nil && (strings.Contains(err.Error(), "navigated or closed") || strings.Contains(err.Error(), "properties of null")) {
		return false
	}
	b.must(expression, err)
	return is
}

// await waits until an expression is true.
func (b *tab) await(what, expression string, args ...any) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !b.holds(expression, args...); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("not within %v: %s\n%s", patience, what, eval[string](b, "document.body.innerText"))
		}
	}
}

// press presses a visible button by key.
func (b *tab) press(text string) {
	b.t.Helper()
	b.await("a button "+text, `(window.pressed = [...document.querySelectorAll("button")].find(
		(b) => b.textContent.startsWith(%q) && b.checkVisibility() && !b.disabled &&
			(!document.querySelector("dialog").open || b.closest("dialog")))) && (pressed.focus(), document.activeElement === pressed)`, text)
	b.do(chromedp.KeyEvent("\r"))
}

// confirm presses the dialog's button, and waits for the announcement.
func (b *tab) confirm(button, said string) {
	b.t.Helper()
	b.await("the dialog", `document.querySelector("dialog").open`)
	b.press(button)
	b.await("it is said that "+said, `!document.querySelector("dialog").open && document.querySelector("#said").textContent.includes(%q)`, said)
}

// enter types text into a field.
func (b *tab) enter(field, text string) {
	b.t.Helper()
	b.await(field, `document.querySelector(%q)?.checkVisibility()`, field)
	eval[bool](b, `(() => { const e = document.querySelector(%q); e.focus(); e.value = ""; return true; })()`, field)
	b.do(chromedp.KeyEvent(text))
}

// live waits for the connection.
func (b *tab) live() {
	b.t.Helper()
	b.await("the connection", `document.querySelector("#link").dataset.state === "live" && document.querySelector("#source").textContent`)
}

// goTo shows a key's page.
func (b *tab) goTo(policy, key string) {
	b.t.Helper()
	eval[bool](b, `Boolean(location.hash = "#/key/" + encodeURIComponent(%q) + "/" + encodeURIComponent(%q))`, policy, key)
	b.await("the key's page", `document.querySelector("#key-title")?.textContent === %q && document.querySelector(".verdict")?.textContent`, key)
}

// client sends requests without a browser.
var client = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// enter is the key.
func enter() chromedp.Action[chromedp.Void] { return chromedp.KeyEvent("\r") }

// named checks that each control has a name, and that each of the roles exists.
func (b *tab) named(roles ...string) {
	b.t.Helper()
	tree, err := chromedp.Call(b.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	b.must("accessibility", err)
	seen := map[string]bool{}
	usable := []string{"button", "link", "radio", "searchbox", "textbox", "slider", "meter", "combobox", "spinbutton", "region", "image"}
	for _, node := range tree.Nodes {
		if node.Ignored || node.Role == nil {
			continue
		}
		role := strings.Trim(string(node.Role.Value), `"`)
		seen[role] = true
		if slices.Contains(usable, role) && (node.Name == nil || strings.Trim(string(node.Name.Value), `" `) == "") {
			b.t.Errorf("a %s without a name", role)
		}
	}
	for _, role := range roles {
		if !seen[role] {
			b.t.Errorf("no %s on the page", role)
		}
	}
}
