package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
)

// target is the Redis of a command, and the format of its output.
type target struct {
	url     string
	prefix  string
	timeout time.Duration
	json    bool
}

func targetFlags(f *flag.FlagSet) *target {
	t := &target{}
	f.StringVar(&t.url, "redis", cmp.Or(os.Getenv("REDIS_URL"), "redis://localhost:6379"),
		"the `URL` of Redis: redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://; unless set, $REDIS_URL")
	f.StringVar(&t.prefix, "prefix", redisstream.DefaultPrefix, "what the services' keys start with: see redisstream.WithPrefix")
	f.DurationVar(&t.timeout, "timeout", 2*time.Second, "how long to wait for a response of Redis")
	f.BoolVar(&t.json, "json", false, "write JSON")
	// Help must not show the default: it may contain a password.
	f.Lookup("redis").DefValue = ""
	return t
}

// name returns the server's name, without user and password.
func (t *target) name() string {
	u, err := url.Parse(t.url)
	if err != nil {
		return "the given URL"
	}
	return cmp.Or(u.Host, u.Path)
}

// open returns the store, even if Redis does not respond.
func (t *target) open() (*redisstream.Store, error) {
	if t.timeout < time.Millisecond {
		return nil, usage("-timeout is %v: it must be 1ms at least", t.timeout)
	}
	store, err := redisstream.Open(t.url, redisstream.WithPrefix(t.prefix), redisstream.WithTimeout(t.timeout),
		redisstream.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if err != nil {
		return nil, usage("-redis: %v", err)
	}
	return store, nil
}

// limiter returns a limiter on the store. It makes no decisions while Redis does not
// respond.
func (t *target) limiter(ctx context.Context) (*core.Limiter, *redisstream.Store, error) {
	store, err := t.open()
	if err != nil {
		return nil, nil, err
	}
	if err := store.Ping(ctx); err != nil {
		_ = store.Close()
		return nil, nil, t.down(err)
	}
	return limiterOn(store), store, nil
}

// limiterOn returns a limiter on the store. The limiter logs nothing. Its Close closes
// the store.
func limiterOn(store core.Store) *core.Limiter {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	return core.New(store, core.WithFailureMode(core.FailClosed), core.WithLogger(quiet))
}

// down returns the error for a failed call to Redis, with the server's name.
func (t *target) down(err error) error {
	if answer := redis.Error(nil); errors.As(err, &answer) {
		return fmt.Errorf("Redis at %s refuses: %w", t.name(), err) //nolint:staticcheck // a name
	}
	return fmt.Errorf("no answer from Redis at %s: %w", t.name(), err)
}
