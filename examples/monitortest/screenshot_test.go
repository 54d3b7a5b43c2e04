package monitortest

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

const (
	pictures = "../../core/monitor/screenshots" // only written when SCREENSHOTS is set
	most     = 200 << 10                        // bytes of a picture
)

// lasting is the duration of the traffic in a picture.
func lasting(picture time.Duration) time.Duration {
	if os.Getenv("SCREENSHOTS") == "" {
		return 3 * time.Second
	}
	return picture
}

// shoot shows a page on a screen, fails if anything is cut off, and writes the picture
// if it is to be kept. It returns what an overview says in it.
func (b *tab) shoot(name, scheme string, width, height int64) statements {
	b.t.Helper()
	b.screen(scheme, width, height)
	if wide := eval[int64](b, `document.documentElement.scrollWidth`); wide > width {
		b.t.Errorf("%s: %d wide, on a screen of %d", name, wide, width)
	}
	shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	b.must("picture", err)
	said := readStatements(b)
	shot = small(b.t, shot)
	if len(shot) > most {
		b.t.Errorf("%s: %d bytes, want at most %d", name, len(shot), most)
	}
	if os.Getenv("SCREENSHOTS") != "" {
		b.must("picture", os.MkdirAll(pictures, 0o755))
		b.must("picture", os.WriteFile(filepath.Join(pictures, name), shot, 0o644))
	}
	return said
}

func (b *tab) screen(scheme string, width, height int64) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	b.must("colors", err)
	b.do(chromedp.EmulateViewport(width, height))
}

var (
	search  = core.NewPolicy("search", core.PerSecond(10), core.PerMinute(100))
	stocks  = core.NewPolicy("stocks", core.PerMinute(100))
	login   = core.NewPolicy("login", core.PerMinute(5), core.Refundable(0))
	trial   = core.NewPolicy("trial", core.PerMinute(60), core.Shadow())
	clients = []string{"203.0.113.5", "203.0.113.77", "198.51.100.20", "192.0.2.9", "user=ann", "user=bert"}
)

// day is the traffic of a day at a small scale. Some requests are under two policies.
func day(l *ledger, lasting time.Duration, processes ...*process) {
	begun := time.Now()
	for i := 0; time.Since(begun) < lasting; i++ {
		wave := 1 + math.Sin(float64(i)/300)
		one := processes[rand.IntN(len(processes))]
		key := clients[rand.IntN(1+rand.IntN(len(clients)))]
		if rand.Float64() < wave/2 {
			l.ask(one, "/search", key, search, trial)
		}
		if rand.Float64() < wave/3 {
			l.ask(one, "/stocks/:symbol/history", key, stocks)
		}
		if rand.IntN(15) == 0 {
			l.ask(one, "/login", key, login)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestBusy: on a busy day the page shows the true decisions, light or dark, on a desktop
// or a phone.
func TestBusy(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	here, there := newProcess(t, redis), newProcess(t, redis)
	here.limiter.Register(core.NewPolicy("export", core.PerHour(3)))
	must(t, here.limiter.SetRule(t.Context(), core.Rule{Kind: core.RuleExempt, Key: "user=monitoring"}))
	must(t, here.limiter.SetRule(t.Context(), core.Rule{Kind: core.RuleOverride, Policy: "stocks", Limits: []core.Limit{core.PerMinute(60)}}))
	b := open(t, here.page())
	b.live()
	l := newLedger(t)
	for range 7 {
		l.ask(here, "/login", clients[0], login) // so that somebody is denied
	}
	for i, picture := range []struct {
		name, scheme  string
		width, height int64
	}{
		{"light.png", "light", 1280, 1000},
		{"dark.png", "dark", 1280, 1000},
		{"phone.png", "light", 390, 844},
	} {
		b.screen(picture.scheme, picture.width, picture.height)
		day(l, lasting([]time.Duration{5 * time.Minute, 7 * time.Second, 7 * time.Second}[i]), here, there)
		l.check(b, b.shoot(picture.name, picture.scheme, picture.width, picture.height))
	}
	l.settle(b)
}

// TestManyPolicies: with 24 policies the denied keys are on the first screen. The
// policies that deny most come first, and idle ones take a line.
func TestManyPolicies(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	here, there := newProcess(t, redis), newProcess(t, redis)
	var policies []*core.Policy
	for i := range 24 {
		policies = append(policies, core.NewPolicy(fmt.Sprintf("policy-%02d", i), core.PerMinute(int64(20+i))))
	}
	here.limiter.Register(policies...)
	b := open(t, here.page())
	b.live()
	b.screen("light", 1280, 800)
	l := newLedger(t)
	for _, p := range policies[:14] {
		l.ask(there, "/"+p.Name(), "198.51.100.1", p)
	}
	for begun := time.Now(); time.Since(begun) < lasting(2*time.Minute); time.Sleep(50 * time.Millisecond) {
		p := policies[max(rand.IntN(14), rand.IntN(14))]
		l.ask([]*process{here, there}[rand.IntN(2)], "/"+p.Name(), fmt.Sprintf("198.51.100.%d", 1+min(rand.IntN(6), rand.IntN(6))), p)
	}
	for range 30 {
		l.ask(here, "/"+policies[13].Name(), "203.0.113.99", policies[13])
	}
	for range 60 {
		l.ask(there, "/"+policies[3].Name(), "203.0.113.99", policies[3])
	}
	b.await("who is denied", `document.querySelector("#top-denied tbody")?.innerText.includes("203.0.113.99")`)
	seen := b.shoot("policies.png", "light", 1280, 800)
	l.check(b, seen)
	if seen.DeniedTop < 0 || seen.DeniedRows[min(len(seen.DeniedRows), 5)-1] > 800 {
		t.Errorf("the keys denied begin at %v px, with rows that end at %v", seen.DeniedTop, seen.DeniedRows)
	}
	if len(seen.Idle) != 10 {
		t.Errorf("%d policies are idle, want 10: %v", len(seen.Idle), seen.Idle)
	}
	for i, height := range seen.IdleHeights {
		if height > 48 {
			t.Errorf("%s takes %v px", seen.Idle[i], height)
		}
	}
	l.settle(b)
}

// TestOutage: while Redis is stopped, three processes continue. Each page shows that it
// sees one process, since when, and the decisions of that process.
func TestOutage(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var processes []*process
	for range 3 {
		processes = append(processes, newProcess(t, redis))
	}
	here := processes[0]
	b := open(t, here.page())
	b.live()
	before := newLedger(t)
	day(before, lasting(3*time.Minute), processes...)
	b.await("all processes", `document.querySelectorAll("#processes tbody tr").length === 3 && document.querySelector("[data-tile=Processes] dd").textContent === "3"`)
	b.await("that all are seen", `document.querySelector("#source").textContent === "all processes on this Redis" && !document.querySelector("#down").checkVisibility()`)
	killed := time.Now()
	redis.Kill()

	strict := core.NewPolicy("strict", core.PerMinute(3))
	l := newLedger(t)
	for _, one := range processes {
		for range 5 {
			l.ask(one, "/strict", "203.0.113.5", strict)
		}
	}
	day(l, lasting(40*time.Second), processes...)
	b.await("that it is alone", `document.querySelector("#source").textContent === "only this process seen"`)
	seen := readStatements(b)
	for deadline := time.Now().Add(patience); !seen.says("strict", "3 allowed", "2 denied", "5 of them decided by a process alone"); seen = readStatements(b) {
		if time.Now().After(deadline) {
			t.Fatalf("of strict it says %q", seen.policy("strict"))
		}
		day(l, 200*time.Millisecond, processes...)
	}
	seen = b.shoot("outage.png", "light", 1280, 1000)

	since := seen.since(t, seen.Down, `^Only this process is seen since ([\d:]+): what the 2 other processes publish can’t be read from Redis\. It decides without Redis, as each policy says\. Figures since then are its own\.$`)
	if off := since.Sub(killed); off < -7*time.Second || off > time.Second {
		t.Errorf("the others are not seen since %v, %v after Redis was stopped", since, off)
	}
	if note := seen.Tiles["Processes"]; note.Value != "1" || note.Note != "2 others not seen since "+since.Format(time.TimeOnly) {
		t.Errorf("processes: %+v", note)
	}
	var unseen int
	for _, row := range seen.Processes {
		if row[1] == "not seen since "+since.Format(time.TimeOnly) && row[2] == "–" {
			unseen++
		}
	}
	if unseen != 2 || len(seen.Processes) != 3 {
		t.Errorf("processes %q: want two that are not seen", seen.Processes)
	}
	if note := seen.Tiles["Allowed"].Note; note != "by this process alone" {
		t.Errorf("allowed: %q", note)
	}
	if n := l.over(seen.at, 60, 5, func(r asked) int64 { return r.count(here, func(d decided) bool { return d.without }) }); !n.has(seen.number(t, seen.Tiles["Without the store"].Value), 2) {
		t.Errorf("%+v decided without the store, truly %v", seen.Tiles["Without the store"], n)
	}
	// A key's page is one sentence, and a way to try again.
	b.failed("strict", "203.0.113.5", "This key can’t be read now: the store does not answer, so the use of this key is not known.")
	redis.Restart()
	b.press("Retry")
	b.await("the key's page", `document.querySelector(".verdict")?.checkVisibility() && !document.querySelector(".failed").checkVisibility()`)
	b.forgive("503")
	eval[bool](b, `(location.hash = "#/", true)`)
	b.await("that all are seen again", `document.querySelector("#source").textContent === "all processes on this Redis" && !document.querySelector("#down").checkVisibility()`)
}

// TestKeyPage: the page of a banned key shows one verdict, the number of denials, and the
// other policies with the key.
func TestKeyPage(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	here, there := newProcess(t, redis), newProcess(t, redis)
	const key = "203.0.113.5"
	l := newLedger(t)
	b := open(t, here.page())
	b.live()
	day(l, lasting(90*time.Second), here, there)
	for i, picture := range []struct {
		name, scheme  string
		width, height int64
	}{{"key.png", "light", 1280, 800}, {"key-phone.png", "dark", 390, 844}} {
		b.screen(picture.scheme, picture.width, picture.height)
		if i > 0 {
			_, err := here.limiter.Unban(t.Context(), key)
			must(t, err)
			there.becomes(trial, key, true) // it knows that the ban is over
		}
		must(t, there.limiter.Reset(t.Context(), login, key)) // entries of before would leave meanwhile
		for range 7 {
			l.ask(there, "/login", key, login)
		}
		must(t, here.limiter.Ban(t.Context(), key, time.Hour))
		for range 4 {
			l.ask(here, "/login", key, login)
		}
		b.goTo("login", key)
		time.Sleep(4 * time.Second) // until the last second is published
		b.await("the ban", `document.querySelector(".verdict").textContent.match(/^banned for (1 h|59 min)( \d+ s)?, every request is denied\.$/) && document.querySelector(".verdict").dataset.allowed === "false"`)
		// The bar, the log and the instant show the same.
		b.await("one truth", `document.querySelector(".usage b").textContent === "5 of 5 used" && document.querySelector(".next").textContent === "not used: a rule decides" &&
			document.querySelector(".readout").textContent.startsWith("5 of 5 used at ") && document.querySelectorAll(".entry").length === 5`)
		denied := func(r asked) int64 { return r.of(key, login, "denied") }
		for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			var n int64
			said := eval[string](b, `document.querySelector(".lately").textContent`)
			_, err := fmt.Sscanf(said, "In the last minute: denied %d times, allowed ", &n)
			// Keys are counted in slices of ten seconds: the oldest leaves at once.
			truth := between{l.over(time.Now(), 48, 3, denied).least, l.over(time.Now(), 62, 3, denied).most}
			if err == nil && n >= 6 && truth.has(n, 0) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("it says %q, truly %+v denied", said, truth)
			}
		}
		b.await("its other policies", `[...document.querySelectorAll(".elsewhere a")].map((a) => a.textContent).sort().join() === "search,stocks,trial"`)
		if n := eval[int](b, `[...document.querySelectorAll("#key button")].filter((b) => b.checkVisibility() && b.textContent === "Ban…").length`); n != 0 {
			t.Error("a ban is offered to a key that is banned")
		}
		b.await("the page", `document.querySelector(".verdict").checkVisibility()`)
		b.shoot(picture.name, picture.scheme, picture.width, picture.height)
	}
	eval[bool](b, `(document.querySelector(".elsewhere a").click(), true)`)
	b.await("the other policy's page", `document.querySelector("#key .muted b")?.textContent !== "login" && document.querySelector(".verdict")?.textContent.startsWith("banned for ")`)
	b.failed("nosuch", key, "There is no policy nosuch here: no process has reported it within the hour.")
	b.forgive("404")
}

// failed opens a key that can't be read.
func (b *tab) failed(policy, key, sentence string) {
	b.t.Helper()
	eval[bool](b, `Boolean(location.hash = "#/key/" + encodeURIComponent(%q) + "/" + encodeURIComponent(%q))`, policy, key)
	b.await("why the key can't be read", `document.querySelector(".failed")?.checkVisibility() && document.querySelector(".failed p").textContent === %q`, sentence)
	if shown := eval[string](b, `[...document.querySelectorAll("#key button, #key .usages, #key .replay")].filter((e) => e.checkVisibility()).map((e) => e.textContent).join()`); shown != "Retry" {
		b.t.Errorf("beside the sentence there is %q", shown)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// small returns a picture of 256 colors, which has a third of the size.
func small(t *testing.T, shot []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	counts := map[color.RGBA]int{}
	bounds := full.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	var all []color.RGBA
	for c := range counts {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b color.RGBA) int { return cmp.Compare(counts[b], counts[a]) })
	var palette color.Palette
	for _, c := range all[:min(len(all), 256)] {
		palette = append(palette, c)
	}
	reduced := image.NewPaletted(bounds, palette)
	nearest := map[color.RGBA]uint8{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			c := color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)
			index, ok := nearest[c]
			if !ok {
				index = uint8(palette.Index(c))
				nearest[c] = index
			}
			reduced.SetColorIndex(x, y, index)
		}
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, reduced); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
