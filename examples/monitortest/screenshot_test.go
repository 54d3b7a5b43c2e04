package monitortest

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/draw"
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
	most     = 150 << 10                        // bytes of a picture
)

// TestScreenshots: on screens of all widths nothing is cut off, light or dark.
func TestScreenshots(t *testing.T) {
	t.Parallel()
	write := os.Getenv("SCREENSHOTS") != ""
	redis := redistest.Start(t)
	here, there := newProcess(t, redis), newProcess(t, redis)
	lasting := 3 * time.Second
	if write {
		lasting = 5 * time.Minute // what the charts show
	}
	traffic(here, there, lasting)

	b := open(t, here.page())
	b.live()
	for _, picture := range []struct {
		name, scheme, hash string
		width, height      int64
	}{
		{"light.png", "light", "#/", 1280, 1000},
		{"dark.png", "dark", "#/", 1280, 1000},
		{"phone.png", "light", "#/", 390, 844},
		{"key.png", "light", "#/key/search/203.0.113.5", 1280, 800},
		{"key-phone.png", "dark", "#/key/search/203.0.113.5", 390, 844},
	} {
		_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: picture.scheme}}})
		b.must("colours", err)
		b.do(chromedp.EmulateViewport(picture.width, picture.height))
		eval[bool](b, `(location.hash = %q, true)`, picture.hash)
		b.await("the page", `document.querySelector(location.hash === "#/" ? "#top-allowed a" : ".entry")`)
		traffic(here, there, 3*time.Second) // to show what comes each second
		if wide := eval[int64](b, `document.documentElement.scrollWidth`); wide > picture.width {
			t.Errorf("%s: %d wide, on a screen of %d", picture.name, wide, picture.width)
		}
		shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		b.must("picture", err)
		shot = small(t, shot)
		if len(shot) > most {
			t.Errorf("%s: %d bytes, want at most %d", picture.name, len(shot), most)
		}
		if write {
			b.must("picture", os.MkdirAll(pictures, 0o755))
			b.must("picture", os.WriteFile(filepath.Join(pictures, picture.name), shot, 0o644))
		}
	}
}

// traffic is that of a day, in little.
func traffic(here, there *process, lasting time.Duration) {
	search := core.NewPolicy("search", core.PerSecond(10), core.PerMinute(100))
	stocks := core.NewPolicy("stocks", core.PerMinute(100))
	login := core.NewPolicy("login", core.PerMinute(5), core.Refundable(0))
	trial := core.NewPolicy("trial", core.PerMinute(60), core.Shadow())
	clients := []string{"203.0.113.5", "203.0.113.77", "198.51.100.20", "192.0.2.9", "user=ann", "user=bert"}
	begun := time.Now()
	for i := 0; time.Since(begun) < lasting; i++ {
		wave := 1 + math.Sin(float64(i)/300)
		for p, policy := range []*core.Policy{search, stocks, trial} {
			process := []*process{here, there}[rand.IntN(2)]
			if rand.Float64() < wave/float64(2+p) {
				process.ask(policy, clients[rand.IntN(1+rand.IntN(len(clients)))], 1)
			}
		}
		if rand.IntN(30) == 0 {
			here.ask(login, clients[rand.IntN(len(clients))], 1)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// small is a picture of 256 colours, which is a third of the size.
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
	draw.Draw(reduced, bounds, full, bounds.Min, draw.Src)
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, reduced); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
