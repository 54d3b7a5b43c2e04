package main

import (
	"context"
	"slices"
	"time"
)

// quota is what all peers are asked to enforce.
type quota struct {
	max    int64
	window time.Duration
}

// allow decides on one request.
type allow func(ctx context.Context, key string) (bool, error)

// peer is a limiter on Redis.
type peer struct {
	name     string
	kind     string
	module   string
	atomic   bool     // a decision is one step on the server
	exact    bool     // a request is denied when the limit was admitted in the window, and only then
	commands []string // what it sends; scripts unless set
	setting  string   // what was set beside the limit, and what to know
	make     func(l *link, q quota) (allow, error)
}

const us = "streamlimit"

// peers are in the order of the tables.
var peers = []peer{
	{name: us, kind: "log", module: "github.com/streamlimit/streamlimit/core", atomic: true, exact: true, make: makeUs,
		setting: "WithTimeout(3s), which is how long the client lets the others wait"},
	{name: "redis_rate", kind: "GCRA", module: "github.com/go-redis/redis_rate/v10", atomic: true, make: makeRedisRate},
	{name: "ulule/limiter", kind: "fixed window", module: "github.com/ulule/limiter/v3", atomic: true, make: makeUlule},
	{name: "throttled", kind: "GCRA", module: "github.com/throttled/throttled/v2", make: makeThrottled,
		commands: []string{"time", "get", "setnx", "expire", "eval"}},
	{name: "httprate-redis", kind: "two weighted windows", module: "github.com/go-chi/httprate-redis", make: makeHTTPRate,
		commands: []string{"mget", "multi", "incrby", "expire", "exec"}},
	{name: "go-limiter", kind: "fixed window", module: "github.com/sethvargo/go-redisstore", atomic: true, make: makeGoLimiter,
		setting: "a pool like go-redis's: the store's own opens a connection for each decision; windows below 1 s are not limited, since their keys expire at once"},
	{name: "gin-rate-limit", kind: "counter", module: "github.com/JGLTechnologies/gin-rate-limit", atomic: true, make: makeGinRateLimit,
		setting: "counts in whole seconds: windows below 1 s are not limited"},
	{name: "Fiber", kind: "fixed window", module: "github.com/gofiber/fiber/v2", make: makeFiber,
		commands: []string{"get", "set"}, setting: "gofiber/storage/redis on the common client; windows are rounded up to whole seconds"},
	{name: "Fiber 3", kind: "fixed window", module: "github.com/gofiber/fiber/v3", make: makeFiber3,
		commands: []string{"get", "set"}, setting: "as Fiber's"},
	{name: "sorted set", kind: "log", atomic: true, exact: true, make: makeSortedSet},
	{name: "tutorial", kind: "log", make: makeTutorial,
		commands: []string{"xadd", "xtrim", "xlen"},
		setting: "XADD, XTRIM MINID ~, XLEN: each request is an entry before it is counted, denied or not, so that requests at once deny " +
			"one another, all of them in a crowd; and ~ leaves up to 99 that are older than the window. Never too many, often too few"},
}

// missing are peers that could not be had.
var missing = map[string]string{
	"mennanov/limiters": "its module could not be fetched",
}

// scripts are the commands of peers that send nothing else.
var scripts = []string{"eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro"}

func (p peer) sends() []string {
	if p.commands == nil {
		return scripts
	}
	return p.commands
}

// chosen are the peers named, and always streamlimit. If none are named they are
// all, or for a quick run those whose decisions are atomic.
func chosen(names []string, quick bool) []peer {
	return slices.DeleteFunc(slices.Clone(peers), func(p peer) bool {
		switch {
		case p.name == us:
			return false
		case len(names) == 0:
			return quick && !p.atomic
		}
		return !slices.Contains(names, p.name)
	})
}
