package policyfile

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

var errClosed = errors.New("policyfile: the watcher is closed")

// Replacer is what a [Watcher] gives policies to: a [*core.Limiter].
type Replacer interface {
	// Replace replaces all policies of earlier calls. If it returns an error, it has
	// replaced none.
	Replace(policies ...*core.Policy) error
}

// Watcher keeps the policies of a limiter the same as in a file. Make one with [Watch].
type Watcher struct {
	path    string
	limiter Replacer
	known   []*core.Policy
	options

	// turn is held to read the file. It is separate from mu, since a read may take long.
	turn  chan struct{}
	file  source
	taken reading // the last reading that was applied or was wrong

	mu       sync.Mutex
	policies []*core.Policy // in force
	closed   bool

	stop    chan struct{} // closed by Close
	running sync.WaitGroup
}

// reading is the content of the file at one time.
type reading struct{ text, failure string }

// Watch reads the file at path as [Read] does, with known policies or with nil for any.
// It replaces the limiter's policies, and does so again after each change of the file,
// until [Watcher.Close]. If Watch returns an error, the file is bad or the limiter can't
// make the change, no policy was replaced, and no file is watched.
//
//	watcher, err := policyfile.Watch("policies.yaml", limiter, []*core.Policy{api, search},
//		policyfile.WithSignals())
//
// Watch applies a change after two checks, a second apart, find the same file. So a
// half-written file is not applied. The file may be written in place, renamed, or behind
// symbolic links as in Kubernetes. A file that becomes bad or is missing does not change
// the policies, and is logged once as an error. The same holds for a file that can't be
// read within 5 seconds, such as on a network that is down. [Watcher.Policies] and
// [Watcher.Close] do not wait for it. When a good file is applied, the log has its
// changes.
//
// Watch panics on a nil limiter or policy.
func Watch(path string, limiter Replacer, known []*core.Policy, opts ...Option) (*Watcher, error) {
	if v := reflect.ValueOf(limiter); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("policyfile: Watch: nil limiter: use core.New(store)")
	}
	w := &Watcher{
		path: path, limiter: limiter, known: latest(known),
		options: newOptions(opts),
		turn:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
	}
	w.file = source{path: path, read: w.options.read}
	if err := w.Reload(); err != nil {
		return nil, err
	}
	signals := make(chan os.Signal, 1)
	if len(w.signals) > 0 {
		signal.Notify(signals, w.signals...)
	}
	w.running.Go(func() {
		defer signal.Stop(signals)
		w.run(signals)
	})
	return w, nil
}

// Reload reads the file now and replaces the limiter's policies, even if the file is the
// same. After an error the policies stay as they are. The watcher does not log the error.
func (w *Watcher) Reload() error {
	if !w.begin() {
		return errClosed
	}
	defer w.end()
	return w.take(w.look())
}

// begin waits for the turn to read. It reports false if the watcher is closed first.
func (w *Watcher) begin() bool {
	select {
	case w.turn <- struct{}{}:
		return true
	case <-w.stop:
		return false
	}
}

func (w *Watcher) end() { <-w.turn }

// Policies returns the policies in force that the file or the environment names.
func (w *Watcher) Policies() []*core.Policy {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.policies)
}

// Close stops watching at once. The policies stay as they are. Close returns nil.
func (w *Watcher) Close() error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.stop)
	}
	w.mu.Unlock()
	w.running.Wait()
	return nil
}

func (w *Watcher) run(signals <-chan os.Signal) {
	var ticks <-chan time.Time // nil without an interval
	if w.interval > 0 {
		ticker := time.NewTicker(w.interval)
		defer ticker.Stop()
		ticks = ticker.C
	}
	if !w.begin() {
		return
	}
	last := w.taken
	w.end()
	for {
		select {
		case <-w.stop:
			return
		case <-signals:
			if err := w.Reload(); err != nil {
				w.bad(err)
			}
		case <-ticks:
			last = w.tick(last)
		}
	}
}

// tick applies a file that has changed and was the same in the last check. It reads the
// file each time, which takes 30 µs, since the text can change while the file's time and
// size stay the same.
func (w *Watcher) tick(last reading) reading {
	if !w.begin() {
		return last
	}
	defer w.end()
	now, err := w.look()
	if now == last && now != w.taken {
		if err := w.take(now, err); err != nil {
			w.bad(err)
		}
	}
	return now
}

func (w *Watcher) look() (reading, error) {
	text, err := w.file.look(w.stop)
	if err != nil {
		return reading{failure: err.Error()}, err
	}
	return reading{text: string(text)}, nil
}

// take applies the policies of a reading to the limiter, or returns an error. Its
// arguments are the results of look.
func (w *Watcher) take(now reading, err error) error {
	if errors.Is(err, errClosed) {
		return err
	}
	w.taken = now
	if err != nil {
		return err
	}
	policies, err := w.parse(now.text)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosed
	}
	if err := w.limiter.Replace(policies...); err != nil {
		return fmt.Errorf("policyfile: %s: %w", w.path, err)
	}
	w.logger.Info("streamlimit: policies read", "file", w.path, "changes", changes(w.known, w.policies, policies))
	w.policies = policies
	return nil
}

// parse returns the policies of a file's text and the environment.
func (w *Watcher) parse(text string) ([]*core.Policy, error) {
	policies, err := Parse(w.path, []byte(text), w.known...)
	if err != nil || w.lookup == nil {
		return policies, err
	}
	environ, err := Environ(w.prefix, w.lookup, slices.Concat(w.known, policies)...)
	if err != nil {
		return nil, err
	}
	return latest(slices.Concat(policies, environ)), nil
}

func (w *Watcher) bad(err error) {
	if errors.Is(err, errClosed) { // after Close, before its goroutine ends
		return
	}
	w.logger.Error("streamlimit: policies stay as they are", "error", err)
}
