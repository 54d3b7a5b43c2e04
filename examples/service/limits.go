package service

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/policyfile"
	"github.com/streamlimit/streamlimit/core/redisstream"
)

// mount is the path of the monitor.
const mount = "/ratelimit"

// Limits has the limiter and its policies for the routes.
type Limits struct {
	*core.Limiter
	Policies Policies
	Monitor  http.Handler // for /ratelimit/, which it is to be stripped of
	link     string       // its query with the token; "" with a password
	recorder *monitor.Recorder
	watcher  *policyfile.Watcher // of the policy file; nil without one
}

// NewLimits makes the limiter with its policies, and watches the policy file. A Redis
// that does not respond is not an error: the limiter uses it as soon as it responds.
func (s Settings) NewLimits() (*Limits, error) {
	store, err := s.newStore()
	if err != nil {
		return nil, &settingsError{fmt.Errorf("REDIS_URL: %w", err)}
	}
	recorder := monitor.NewRecorder(store)
	limiter := core.New(store,
		core.WithTrustedProxies(s.TrustedProxies...),
		core.WithKeySecret(s.KeySecret, s.FormerSecret),
		core.WithObserver(recorder),
	)
	l := &Limits{Limiter: limiter, Policies: builtIn(), recorder: recorder}
	page := monitor.New(limiter, recorder, monitor.WithPassword(s.MonitorPassword),
		monitor.WithLink(func(query string) { l.link = query }))
	l.Monitor = http.StripPrefix(mount, page)
	if err := l.replacePolicies(s.PolicyFile); err != nil {
		return nil, errors.Join(&settingsError{err}, l.Close())
	}
	return l, nil
}

func (s Settings) newStore() (core.Store, error) {
	if s.RedisURL == "" {
		slog.Info("no REDIS_URL: limits are counted in this process's memory and not shared with others")
		return core.NewMemory(), nil
	}
	// The timeout is longer than the default: on a busy machine, a short wait is better
	// than a decision without Redis.
	return redisstream.Open(s.RedisURL, redisstream.WithTimeout(200*time.Millisecond))
}

// replacePolicies replaces the built-in policies by those of the file and the
// environment, such as the policy search by the variable POLICY_SEARCH.
func (l *Limits) replacePolicies(file string) (err error) {
	if file == "" {
		policies, err := policyfile.Environ(policyPrefix, os.LookupEnv, l.Policies.all()...)
		if err != nil {
			return err
		}
		return l.Replace(policies...)
	}
	l.watcher, err = policyfile.Watch(file, l.Limiter, l.Policies.all(),
		policyfile.WithEnviron(policyPrefix, os.LookupEnv), policyfile.WithSignals())
	return err
}

// Close stops watching the file, and closes the limiter and its store.
func (l *Limits) Close() error {
	_ = l.recorder.Close() // has no error
	if l.watcher != nil {
		_ = l.watcher.Close() // has no error
	}
	return l.Limiter.Close()
}
