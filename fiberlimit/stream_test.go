package fiberlimit_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adaptertest"
	"github.com/streamlimit/streamlimit/fiberlimit"
)

// TestStreamHoldsSlot: the slot of a stream is free when its writer has returned, and not
// before.
func TestStreamHoldsSlot(t *testing.T) {
	for name, stream := range map[string]func(c *fiber.Ctx, f func(w *bufio.Writer)){
		"StreamWriter":        fiberlimit.StreamWriter,
		"SetBodyStreamWriter": func(c *fiber.Ctx, f func(w *bufio.Writer)) { c.Context().SetBodyStreamWriter(f) },
	} {
		t.Run(name, func(t *testing.T) {
			limiter := core.New(core.NewMemory())
			t.Cleanup(func() { limiter.Close() })
			p := core.NewConcurrency("streams", 1, 30*time.Second)
			more := make(chan struct{})
			url := serve(t, fiber.Config{}, adaptertest.App[*fiber.Ctx, fiber.Handler]{
				OnError: func(err error) { t.Log(err) },
				Groups: []adaptertest.Group[*fiber.Ctx, fiber.Handler]{{
					Use: []fiber.Handler{fiberlimit.New(limiter, p)},
					Routes: []adaptertest.Route[*fiber.Ctx, fiber.Handler]{{Path: "/", Handler: func(c *fiber.Ctx) error {
						stream(c, func(w *bufio.Writer) {
							_, _ = w.WriteString("begun")
							_ = w.Flush()
							<-more
							_, _ = w.WriteString(", ended")
						})
						return nil
					}}},
				}},
			})
			resp, err := http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if _, err := io.ReadFull(resp.Body, make([]byte, len("begun"))); err != nil {
				t.Fatal(err)
			}
			left := func() int64 {
				d, err := limiter.Peek(t.Context(), p, "127.0.0.1")
				if err != nil {
					t.Fatal(err)
				}
				return d.Remaining
			}
			if left() != 0 {
				t.Error("the slot is free while the stream is written")
			}
			if other, err := http.Get(url); err != nil || other.StatusCode != http.StatusTooManyRequests {
				t.Errorf("another request: %v, %v", other, err)
			}
			close(more)
			if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != ", ended" {
				t.Errorf("%q, %v", rest, err)
			}
			for end := time.Now().Add(10 * time.Second); left() != 1; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the slot is held after the stream")
				}
			}
		})
	}
}

// TestStreamWithoutServer: a server of net/http with Fiber's adaptor does not report the end
// of a request, so a slot is free after the handler.
func TestStreamWithoutServer(t *testing.T) {
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	p := core.NewConcurrency("streams", 1, 30*time.Second)
	app := fiber.New()
	app.Get("/", fiberlimit.New(limiter, p), func(c *fiber.Ctx) error { return c.SendStream(strings.NewReader("text")) })
	for range 2 {
		if w := get(app, "/"); w.Code != http.StatusOK || w.Body.String() != "text" {
			t.Fatalf("%d %q", w.Code, w.Body)
		}
	}
}

// TestStreamAfterTimeout: nobody reads the stream of a handler that was too late, so it does
// not hold the slot.
func TestStreamAfterTimeout(t *testing.T) {
	limiter := core.New(core.NewMemory())
	t.Cleanup(func() { limiter.Close() })
	p := core.NewConcurrency("streams", 1, 30*time.Second)
	url := serve(t, fiber.Config{}, adaptertest.App[*fiber.Ctx, fiber.Handler]{
		OnError: func(err error) { t.Log(err) },
		Groups: []adaptertest.Group[*fiber.Ctx, fiber.Handler]{{
			Use: []fiber.Handler{fiberlimit.New(limiter, p)},
			Routes: []adaptertest.Route[*fiber.Ctx, fiber.Handler]{{Path: "/", Handler: func(c *fiber.Ctx) error {
				c.Context().TimeoutError("too late")
				fiberlimit.StreamWriter(c, func(w *bufio.Writer) {
					_, _ = w.WriteString("text")
					_ = w.Flush()
				})
				return nil
			}}},
		}},
	})
	for range 2 {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("status %d, want 408", resp.StatusCode)
		}
	}
}
