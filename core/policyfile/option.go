package policyfile

import (
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// Option is a setting for [Watch].
type Option func(*options)

type options struct {
	logger   *slog.Logger
	interval time.Duration
	signals  []os.Signal
	prefix   string
	lookup   func(string) (string, bool) // nil without an environment
	read     func(path string) ([]byte, error)
}

func newOptions(opts []Option) options {
	o := options{logger: slog.Default(), interval: time.Second, read: readFile}
	for _, set := range opts {
		if set == nil {
			panic("policyfile: Watch: a nil option: leave it out")
		}
		set(&o)
	}
	return o
}

// WithEnviron gives the environment precedence over the file. Each time the file is read,
// the watcher also reads limits in variables, as [Environ] does. This includes policies
// that only the file names. A wrong variable is an error, like a wrong file.
func WithEnviron(prefix string, lookup func(string) (string, bool)) Option {
	if lookup == nil {
		panic("policyfile: WithEnviron: nil lookup: use os.LookupEnv")
	}
	return func(o *options) { o.prefix, o.lookup = prefix, lookup }
}

// WithSignals makes the watcher read the file at once when the process gets one of
// signals. Without arguments the signal is SIGHUP.
func WithSignals(signals ...os.Signal) Option {
	if len(signals) == 0 {
		signals = []os.Signal{syscall.SIGHUP}
	}
	return func(o *options) { o.signals = signals }
}

// WithInterval sets the interval between checks of the file. The default is a second.
// With 0, only [Watcher.Reload] and [WithSignals] read the file.
func WithInterval(d time.Duration) Option {
	if d < 0 {
		panic(fmt.Sprintf("policyfile: WithInterval: %v: use a time such as time.Second, or 0 for never", d))
	}
	return func(o *options) { o.interval = d }
}

// WithLogger sets the logger for the watcher's log lines. The default is
// slog.Default().
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("policyfile: WithLogger: nil logger: leave the option out for slog.Default()")
	}
	return func(o *options) { o.logger = logger }
}
