package policyfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// replacer is a limiter that records calls only.
type replacer struct {
	mu       sync.Mutex
	policies []*core.Policy
	times    int
	called   chan struct{}
}

func newReplacer() *replacer { return &replacer{called: make(chan struct{}, 100)} }

func (r *replacer) Replace(policies ...*core.Policy) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.policies, r.times = policies, r.times+1
	r.called <- struct{}{}
	return nil
}

func (r *replacer) want(t *testing.T, times int, policies string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := show(r.policies); r.times != times || got != policies {
		t.Errorf("replaced %d times, now %s\nwant     %d times,     %s", r.times, got, times, policies)
	}
}

// lines is a log. A call of want removes the lines that it has checked.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) want(t *testing.T, want string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if got := strings.TrimSpace(l.text.String()); got != want {
		t.Errorf("log  %s\nwant %s", got, want)
	}
	l.text.Reset()
}

// logTo returns a logger that writes lines without the time, and with the base of the
// path.
func logTo(l *lines, dir string) Option {
	return WithLogger(slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey, slog.MessageKey:
			return slog.Attr{}
		}
		return slog.String(a.Key, strings.ReplaceAll(a.Value.String(), dir+"/", ""))
	}})))
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "p.yaml")
		write(t, path, "policies: {stocks: 500/minute}")
		limiter, log := newReplacer(), &lines{}
		w, err := Watch(path, limiter, program(), logTo(log, dir))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		limiter.want(t, 1, "stocks: 500/minute")
		log.want(t, `level=INFO file=p.yaml changes="stocks: 100/minute -> 500/minute"`)

		wait := func() {
			time.Sleep(2500 * time.Millisecond)
			synctest.Wait()
		}
		wait()
		limiter.want(t, 1, "stocks: 500/minute")
		log.want(t, "")

		// The new text has the same length and modification time.
		info, _ := os.Stat(path)
		write(t, path, "policies: {stocks: 600/minute}")
		_ = os.Chtimes(path, info.ModTime(), info.ModTime())
		wait()
		limiter.want(t, 2, "stocks: 600/minute")
		log.want(t, `level=INFO file=p.yaml changes="stocks: 500/minute -> 600/minute"`)

		write(t, path, "policies:\n  stocks: 600/minute\n  search: [20/fortnight]\n")
		wait()
		wait()
		limiter.want(t, 2, "stocks: 600/minute")
		log.want(t, `level=ERROR error="p.yaml:3: search: \"20/fortnight\": unknown unit, use s, m, h, d or a Go duration"`)

		// Editors rename another file to the path.
		write(t, path+"~", "policies: {search: 20/second, tokens: {shadow: true, header: llm, failure: open}}")
		if err := os.Rename(path+"~", path); err != nil {
			t.Fatal(err)
		}
		wait()
		limiter.want(t, 3, "search: 20/second; tokens: 10000/minute, shadow, header llm, failure open, cost, refund 20s")
		log.want(t, `level=INFO file=p.yaml changes="stocks: 600/minute -> 100/minute; search: 10/second, 100/minute -> 20/second (new logs); `+
			`tokens: 10000/minute, cost, refund 20s -> 10000/minute, shadow, header llm, failure open, cost, refund 20s"`)

		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		wait()
		wait()
		limiter.want(t, 3, show(w.Policies()))
		log.want(t, `level=ERROR error="policyfile: p.yaml: no such file or directory"`)

		write(t, path, "policies: {search: 20/second, tokens: {shadow: true, header: llm, failure: open}} # again")
		wait()
		limiter.want(t, 4, show(w.Policies()))
		log.want(t, `level=INFO file=p.yaml changes=none`)

		w.Close()
		write(t, path, "policies: {}")
		wait()
		limiter.want(t, 4, show(w.Policies()))
		log.want(t, "")
	})
}

// In Kubernetes the file is a link to ..data/p.yaml. ..data is a link to a directory,
// which is replaced.
func TestWatchConfigMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		version := func(name, text string) {
			if err := errors.Join(
				os.Mkdir(filepath.Join(dir, name), 0o700),
				os.WriteFile(filepath.Join(dir, name, "p.yaml"), []byte(text), 0o600),
				os.Symlink(name, filepath.Join(dir, "..data_tmp")),
				os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")),
			); err != nil {
				t.Fatal(err)
			}
		}
		version("..1", "policies: {stocks: 1/s}")
		path := filepath.Join(dir, "p.yaml")
		if err := os.Symlink(filepath.Join("..data", "p.yaml"), path); err != nil {
			t.Fatal(err)
		}
		limiter := newReplacer()
		w, err := Watch(path, limiter, nil, logTo(&lines{}, dir))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		version("..2", "policies: {stocks: 2/s}")
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		limiter.want(t, 2, "stocks: 2/second")
	})
}

// replace replaces a file with the result of make, in one step.
func replace(t *testing.T, path string, makeAt func(path string) error) {
	t.Helper()
	if err := errors.Join(makeAt(path+"~"), os.Rename(path+"~", path)); err != nil {
		t.Fatal(err)
	}
}

// Editors save a file by renaming another one to it, or by moving it away and writing a
// new one. In between, the file does not exist.
func TestWatchEditors(t *testing.T) {
	for name, save := range map[string]func(t *testing.T, path, text string){
		"in place": func(t *testing.T, path, text string) { write(t, path, text) },
		"renamed": func(t *testing.T, path, text string) {
			replace(t, path, func(path string) error { return os.WriteFile(path, []byte(text), 0o600) })
		},
		"moved away": func(t *testing.T, path, text string) {
			if err := os.Rename(path, path+".bak"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // one check finds no file
			write(t, path, text)
		},
		"CRLF and a mark": func(t *testing.T, path, text string) {
			write(t, path, "\ufeff# ours\r\n"+text+"\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "p.yaml")
				write(t, path, "policies: {a: 1/s}")
				limiter, log := newReplacer(), &lines{}
				w, err := Watch(path, limiter, nil, logTo(log, dir))
				if err != nil {
					t.Fatal(err)
				}
				defer w.Close()
				log.want(t, `level=INFO file=p.yaml changes="a: new, 1/second"`)
				time.Sleep(500 * time.Millisecond) // between checks
				for i, text := range []string{"policies: {a: 2/s}", "policies: {a: 3/s}"} {
					save(t, path, text)
					time.Sleep(3 * time.Second)
					synctest.Wait()
					limiter.want(t, 2+i, fmt.Sprintf("a: %d/second", 2+i))
				}
				if text := log.text.String(); strings.Contains(text, "ERROR") {
					t.Errorf("log %s", text)
				}
			})
		})
	}
}

// stalled is a file on a mount whose server can stop answering.
type stalled struct {
	mu    sync.Mutex
	gone  chan struct{} // closed when the server answers again; nil while it answers
	reads int           // that have started
}

func (s *stalled) read(path string) ([]byte, error) {
	s.mu.Lock()
	s.reads++
	gone := s.gone
	s.mu.Unlock()
	if gone != nil {
		text, err := readFile(path)
		<-gone
		return text, err // as it was at the start
	}
	return readFile(path)
}

func (s *stalled) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

// goAway makes reads block until back is called.
func (s *stalled) goAway() (back func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := make(chan struct{})
	s.gone = gone
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.gone = nil
		close(gone)
	}
}

// atOnce runs f, which must not block.
func atOnce(t *testing.T, what string, f func()) {
	t.Helper()
	begun := time.Now()
	if f(); time.Since(begun) != 0 {
		t.Errorf("%s took %v", what, time.Since(begun))
	}
}

func TestWatchDeadMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "p.yaml")
		write(t, path, "policies: {a: 1/s}")
		limiter, log, mount := newReplacer(), &lines{}, &stalled{}
		w, err := Watch(path, limiter, nil, logTo(log, dir), func(o *options) { o.read = mount.read })
		if err != nil {
			t.Fatal(err)
		}
		log.want(t, `level=INFO file=p.yaml changes="a: new, 1/second"`)

		const slow = `policyfile: p.yaml: not read within 5s: is its file system there?`
		back := mount.goAway()
		before := mount.count()
		time.Sleep(time.Minute)
		synctest.Wait()
		log.want(t, `level=ERROR error="`+slow+`"`)
		if n := mount.count() - before; n != 1 {
			t.Errorf("%d reads at a time, want 1", n)
		}
		atOnce(t, "Policies", func() { limiter.want(t, 1, show(w.Policies())) })
		if err := w.Reload(); err == nil || strings.ReplaceAll(err.Error(), dir+"/", "") != slow {
			t.Errorf("Reload: %v", err)
		}

		// The result of the stuck read is too old for Reload.
		write(t, path, "policies: {a: 2/s}")
		reloaded := make(chan error)
		go func() { reloaded <- w.Reload() }()
		synctest.Wait()
		back()
		if err := <-reloaded; err != nil {
			t.Error(err)
		}
		limiter.want(t, 2, "a: 2/second")
		log.want(t, `level=INFO file=p.yaml changes="a: 1/second -> 2/second"`)

		back = mount.goAway()
		time.Sleep(2 * time.Second)
		go func() { reloaded <- w.Reload() }()
		synctest.Wait()
		atOnce(t, "Close", func() { w.Close() })
		if err := <-reloaded; !errors.Is(err, errClosed) {
			t.Errorf("Reload at Close: %v", err)
		}
		back()
		limiter.want(t, 2, "a: 2/second")
		log.want(t, "")
	})
}

func TestReadDeadMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mount := &stalled{}
		defer mount.goAway()()
		begun := time.Now()
		_, err := Watch("p.yaml", newReplacer(), nil, func(o *options) { o.read = mount.read })
		if took := time.Since(begun); !errors.Is(err, errSlow) || took != readTimeout {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestWatchTakesNothingHalfWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "p.yaml")
		write(t, path, "policies: {stocks: 1/s}")
		limiter, log := newReplacer(), &lines{}
		w, err := Watch(path, limiter, nil, logTo(log, dir))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		log.want(t, `level=INFO file=p.yaml changes="stocks: new, 1/second"`)
		time.Sleep(500 * time.Millisecond) // between checks
		for _, text := range []string{"", "policies:\n  stocks: 20/1m", "policies:\n  stocks: 20/1m30s\n"} {
			limiter.want(t, 1, "stocks: 1/second")
			write(t, path, text)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		limiter.want(t, 2, "stocks: 20/1m30s")
		log.want(t, `level=INFO file=p.yaml changes="stocks: 1/second -> 20/1m30s (new logs)"`)
	})
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "p.yaml")
	limiter, log := newReplacer(), &lines{}
	_, err := Watch(path, limiter, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	write(t, path, "policies: {a: 1/s}")
	w, err := Watch(path, limiter, nil, WithInterval(0), logTo(log, dir))
	if err != nil {
		t.Fatal(err)
	}
	log.want(t, `level=INFO file=p.yaml changes="a: new, 1/second"`)

	write(t, path, "policies: {a: 2/s, b: 1/s}")
	if err = w.Reload(); err != nil {
		t.Fatal(err)
	}
	limiter.want(t, 2, "a: 2/second; b: 1/second")
	log.want(t, `level=INFO file=p.yaml changes="a: 1/second -> 2/second; b: new, 1/second"`)

	write(t, path, "policies: {a: 2}")
	if err = w.Reload(); err == nil || !strings.HasPrefix(err.Error(), path+`:1: a: "2": write units/window`) {
		t.Errorf("got %v", err)
	}
	limiter.want(t, 2, "a: 2/second; b: 1/second")
	log.want(t, "")

	write(t, path, "policies: {b: 1/s}")
	if err = w.Reload(); err != nil {
		t.Fatal(err)
	}
	log.want(t, `level=INFO file=p.yaml changes="a: removed"`)

	if err = errors.Join(w.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	if err = w.Reload(); err == nil {
		t.Error("no error after Close")
	}
	limiter.want(t, 3, "b: 1/second")
}

// The caller of Reload gets the error, so the watcher does not log it.
func TestReloadsErrorIsNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "p.yaml")
		write(t, path, "policies: {a: 1/s}")
		log := &lines{}
		w, err := Watch(path, newReplacer(), nil, logTo(log, dir))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		log.want(t, `level=INFO file=p.yaml changes="a: new, 1/second"`)
		write(t, path, "policies: {a: 2}")
		if err := w.Reload(); err == nil {
			t.Error("no error")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		log.want(t, "")
	})
}

func TestSignal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "p.yaml")
	write(t, path, "policies: {a: 1/s}")
	limiter := newReplacer()
	w, err := Watch(path, limiter, nil, WithInterval(0), WithSignals(), logTo(&lines{}, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	<-limiter.called
	write(t, path, "policies: {a: 2/s}")
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err = self.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	<-limiter.called
	limiter.want(t, 2, "a: 2/second")
}

func TestWatchWithEnviron(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "p.yaml")
	write(t, path, "policies: {search: {limits: 7/s, shadow: true}, strict: 9/s}")
	variables := map[string]string{"POLICY_SEARCH": "20/s", "POLICY_LOGIN": "1/m"}
	limiter := newReplacer()
	w, err := Watch(path, limiter, program(), WithInterval(0), WithEnviron("POLICY_", environment(variables)), logTo(&lines{}, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	limiter.want(t, 1, "search: 20/second, shadow; strict: 9/second; login: 1/minute")

	write(t, path, "policies: {strict: 8/s}")
	if err = w.Reload(); err != nil {
		t.Fatal(err)
	}
	limiter.want(t, 2, "strict: 8/second; search: 20/second; login: 1/minute")

	variables["POLICY_LOGIN"] = "1"
	if err = w.Reload(); err == nil || !strings.HasPrefix(err.Error(), `POLICY_LOGIN: "1": write`) {
		t.Errorf("got %v", err)
	}
	limiter.want(t, 2, "strict: 8/second; search: 20/second; login: 1/minute")
	if _, err = Watch(path, limiter, program(), WithEnviron("POLICY_", environment(variables))); err == nil {
		t.Error("no error for a wrong variable")
	}
}

// Counted requests still count after the number of units changes.
func TestChangedLimitKeepsWhatWasCounted(t *testing.T) {
	for _, test := range []struct {
		name  string
		known *core.Policy
	}{
		{"counted", core.NewPolicy("api", core.PerMinute(10))},
		{"summed", core.NewPolicy("api", core.PerMinute(10), core.VariableCost())},
		{"refundable", core.NewPolicy("api", core.PerMinute(10), core.Refundable(0))},
		{"coarse", core.NewPolicy("api", core.PerMinute(10), core.Coarse(10))},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "p.yaml")
			write(t, path, "policies: {}")
			limiter := core.New(core.NewMemory())
			defer limiter.Close()
			w, err := Watch(path, limiter, []*core.Policy{test.known}, logTo(&lines{}, ""))
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			allow := func(allowed bool, remaining int64) {
				t.Helper()
				d, err := limiter.Allow(context.Background(), test.known, "user-7")
				if err != nil || d.Allowed != allowed || d.Remaining != remaining {
					t.Errorf("allowed %v, remaining %d, error %v; want %v, %d", d.Allowed, d.Remaining, err, allowed, remaining)
				}
			}
			say := func(text string) {
				t.Helper()
				write(t, path, text)
				if err := w.Reload(); err != nil {
					t.Fatal(err)
				}
			}
			for i := range int64(6) {
				allow(true, 9-i)
			}
			say("policies: {api: 20/minute}") // 6 units are used
			allow(true, 13)
			say("policies: {api: 8/minute}") // 7 units are used
			allow(true, 0)
			allow(false, 0)
			say("policies: {api: 4/minute}") // 8 units are used
			allow(false, 0)
			say("policies: {api: {limits: 9/minute, shadow: true, failure: open, header: a}}")
			allow(true, 0)
			say("policies: {}") // 9 of the program's 10 units are used
			allow(true, 0)
			allow(false, 0)
		})
	}
}

func TestWrongWatchPanics(t *testing.T) {
	for name, wrong := range map[string]func(){
		"use core.New(store)": func() { _, _ = Watch("p.yaml", nil, nil) },
		"use core.New":        func() { _, _ = Watch("p.yaml", (*core.Limiter)(nil), nil) },
		"a nil policy":        func() { _, _ = Watch("p.yaml", newReplacer(), []*core.Policy{nil}) },
		"a nil option":        func() { _, _ = Watch("p.yaml", newReplacer(), nil, nil) },
		"nil logger":          func() { WithLogger(nil) },
		"0 for never":         func() { WithInterval(-1) },
		"use os.LookupEnv":    func() { WithEnviron("", nil) },
		"os.LookupEnv":        func() { _, _ = Environ("", nil) },
	} {
		func() {
			defer func() {
				if got, _ := recover().(string); !strings.HasPrefix(got, "policyfile: ") || !strings.Contains(got, name) {
					t.Errorf("panic %q, want %q", got, name)
				}
			}()
			wrong()
		}()
	}
}

// TestWatchRefusedChange: a change that the limiter refuses is an error, and the watcher
// has the policies in force.
func TestWatchRefusedChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policies.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	quota := core.NewPolicy("quota", core.PerHour(9))
	limiter.Register(quota) // as an adapter does
	write("policies: {quota: {limits: 10/day@UTC}}")
	watcher, err := Watch(path, limiter, []*core.Policy{quota}, WithInterval(0))
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close()
	if d, err := limiter.Allow(t.Context(), quota, "k"); err != nil || d.Limit.String() != "10/day@UTC" {
		t.Fatalf("%v, %v", d.Limit, err)
	}
	write("policies: {quota: {limits: 100/month@UTC}}")
	if err := watcher.Reload(); err == nil || !strings.Contains(err.Error(), "policy quota: its calendar periods") {
		t.Errorf("got %v", err)
	}
	if got := watcher.Policies(); len(got) != 1 || got[0].Limits()[0].String() != "10/day@UTC" {
		t.Errorf("in force: %v", got)
	}
	write("policies: {quota: {limits: 20/day@UTC}}")
	if err := watcher.Reload(); err != nil {
		t.Errorf("another Max: %v", err)
	}
}
