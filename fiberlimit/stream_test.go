package fiberlimit_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
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
			waitLeft(t, limiter, p, 0)
			other, err := http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			other.Body.Close()
			if other.StatusCode != http.StatusTooManyRequests {
				t.Errorf("another request got %d", other.StatusCode)
			}
			close(more)
			if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != ", ended" {
				t.Errorf("%q, %v", rest, err)
			}
			waitLeft(t, limiter, p, 1)
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

// A client gets the last bytes before the request is settled. The function of WithSettle
// gets a copy of the request.
func TestStreamIsSettled(t *testing.T) {
	limiter := core.New(core.NewMemory())
	t.Cleanup(func() { limiter.Close() })
	words := core.NewPolicy("words", core.PerHour(1000), core.VariableCost(), core.Refundable(0))
	more, read, settled := make(chan struct{}), make(chan struct{}), make(chan struct{})
	settle := fiberlimit.WithSettle(func(c *fiber.Ctx, status int) int64 {
		defer close(settled)
		<-read
		if status != http.StatusAccepted || c.Response().StatusCode() != http.StatusAccepted {
			t.Errorf("the function got status %d, and %d in the copy", status, c.Response().StatusCode())
		}
		if c.IP() != "127.0.0.1" || c.Get("X-User") != "alice" || c.Path() != "/text" {
			t.Errorf("the copy has address %q, user %q and path %q", c.IP(), c.Get("X-User"), c.Path())
		}
		if c.UserContext() != context.Background() {
			t.Error("the copy has a context that Fiber reuses")
		}
		used, _ := c.Locals("used").(*int64)
		if used == nil {
			t.Error("the copy does not have the Locals")
			return -1
		}
		return *used
	})
	url := serve(t, fiber.Config{}, adaptertest.App[*fiber.Ctx, fiber.Handler]{
		OnError: func(err error) { t.Log(err) },
		Groups: []adaptertest.Group[*fiber.Ctx, fiber.Handler]{{
			Use: []fiber.Handler{fiberlimit.New(limiter, words, settle)},
			Routes: []adaptertest.Route[*fiber.Ctx, fiber.Handler]{{Path: "/text", Handler: func(c *fiber.Ctx) error {
				used := new(int64)
				c.Locals("used", used)
				c.SetUserContext(c.Context())
				c.Status(http.StatusAccepted)
				fiberlimit.StreamWriter(c, func(w *bufio.Writer) {
					_, _ = w.WriteString("begun")
					_ = w.Flush()
					<-more
					*used = 30
					_, _ = w.WriteString(", ended")
				})
				return nil
			}}},
		}},
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/text", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-User", "alice")
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	close(more) // the handler has returned
	if _, err := io.ReadFull(resp.Body, make([]byte, len("begun, ended"))); err != nil {
		t.Errorf("the last bytes wait for the settlement: %v", err)
	}
	close(read)
	<-settled
	waitLeft(t, limiter, words, 970)
}

// TestStreamSettlePanics: a panic at the end of a stream is logged, and the request stays
// charged. Its slot is free.
func TestStreamSettlePanics(t *testing.T) {
	var log strings.Builder
	limiter := core.New(core.NewMemory(), core.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	t.Cleanup(func() { limiter.Close() })
	slots := core.NewConcurrency("streams", 1, 30*time.Second)
	words := core.NewPolicy("words", core.PerHour(1000), core.VariableCost(), core.Refundable(0))
	cost := fiberlimit.WithCost(func(*fiber.Ctx) (int64, error) { return 100, nil })
	more := make(chan struct{})
	url := serve(t, fiber.Config{}, adaptertest.App[*fiber.Ctx, fiber.Handler]{
		OnError: func(err error) { t.Log(err) },
		Groups: []adaptertest.Group[*fiber.Ctx, fiber.Handler]{{
			Use: []fiber.Handler{fiberlimit.New(limiter, words, cost,
				fiberlimit.WithPolicy(slots, fiberlimit.ByAddress()),
				fiberlimit.WithSettle(func(*fiber.Ctx, int) int64 { panic("no such model") }),
			)},
			Routes: []adaptertest.Route[*fiber.Ctx, fiber.Handler]{{Path: "/", Handler: func(c *fiber.Ctx) error {
				fiberlimit.StreamWriter(c, func(w *bufio.Writer) {
					_, _ = w.WriteString("begun")
					_ = w.Flush()
					<-more
					_, _ = w.WriteString(", ended")
				})
				return nil
			}}},
		}},
	})
	for i := range int64(2) {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		more <- struct{}{} // the handler has returned
		if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "begun, ended" {
			t.Errorf("%q, %v", text, err)
		}
		resp.Body.Close()
		waitLeft(t, limiter, slots, 1)
		waitLeft(t, limiter, words, 1000-100*(i+1))
	}
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "level=ERROR") ||
		!strings.Contains(log.String(), `panic="no such model"`) {
		t.Errorf("the log has: %s\nwant one error with the value", log.String())
	}
}

// TestStreamSlowClient: the slot of a [fiberlimit.StreamWriter] does not wait for a client
// that has yet to read the rest.
func TestStreamSlowClient(t *testing.T) {
	limiter := core.New(core.NewMemory())
	t.Cleanup(func() { limiter.Close() })
	p := core.NewConcurrency("streams", 1, 30*time.Second)
	written := make(chan struct{})
	url := serve(t, fiber.Config{}, adaptertest.App[*fiber.Ctx, fiber.Handler]{
		OnError: func(err error) { t.Log(err) },
		Groups: []adaptertest.Group[*fiber.Ctx, fiber.Handler]{{
			Use: []fiber.Handler{fiberlimit.New(limiter, p)},
			Routes: []adaptertest.Route[*fiber.Ctx, fiber.Handler]{{Path: "/", Handler: func(c *fiber.Ctx) error {
				fiberlimit.StreamWriter(c, func(w *bufio.Writer) {
					defer close(written)
					_, _ = w.Write(make([]byte, 32<<20)) // more than the connection holds
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
	<-written
	waitLeft(t, limiter, p, 1)
}

// waitLeft waits until the client has so many units or slots left. A request can end
// after its client has read the response.
func waitLeft(t *testing.T, limiter *core.Limiter, p *core.Policy, want int64) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		d, err := limiter.Peek(t.Context(), p, "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		if d.Remaining == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %s are left, want %d", d.Remaining, p.Name(), want)
		}
	}
}
