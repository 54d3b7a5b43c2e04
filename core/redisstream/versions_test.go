package redisstream

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// nextVersion makes a client that of this package's next version: its scripts are others,
// with the same meaning, and the format of counted logs has changed, which has the
// letter n from then on.
type nextVersion struct{ scripts map[string]*script }

func newNextVersion() nextVersion {
	next := nextVersion{make(map[string]*script)}
	for _, sc := range []*script{counted, summed, refunded, together, many, changed, togetherChanged, manyChanged} {
		next.scripts[sc.sha.(string)] = newScript(sc.source + "\n-- of the next version\n")
	}
	return next
}

// renamed returns a name or key with the letter of one format instead of another's.
func renamed(name, from, to string) string {
	at := strings.LastIndexByte(name, ':')
	if at >= 0 && strings.HasPrefix(name[at+1:], from) {
		return name[:at+1] + to + name[at+2:]
	}
	return name
}

func (n nextVersion) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		args := append([]any(nil), cmd.Args()...)
		for i, arg := range args {
			if text, ok := arg.(string); ok && len(text) < 200 {
				args[i] = renamed(text, "c", "n")
			}
		}
		switch c := cmd.(type) {
		case once:
			sc := n.scripts[c.Args()[1].(string)]
			if sc == nil {
				return next(ctx, cmd)
			}
			args[0], args[1] = "eval", sc.source
			own := once{redis.NewIntSliceCmd(ctx, args...)}
			err := next(ctx, own)
			c.SetVal(own.Val())
			c.SetErr(err)
			return err
		case *redis.StringSliceCmd: // the registry
			own := redis.NewStringSliceCmd(ctx, args...)
			err := next(ctx, own)
			names := own.Val()
			for i := range names {
				// It knows the earlier format, as a version must that changes one. Here
				// only its name is of interest.
				names[i] = renamed(names[i], "n", "c")
			}
			c.SetVal(names)
			c.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (nextVersion) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (nextVersion) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Two versions of this package share one Redis while a deployment goes from one to the
// other and back. Where the format of a log is the same they share the log, and its
// limit holds for both together. Where it differs each has a log of its own: neither
// reads what it does not know, and going back finds the log as it was left.
func TestVersionsSideBySide(t *testing.T) {
	server := redistest.Start(t)
	start := func(next bool) *core.Limiter {
		rdb := redis.NewClient(server.Options())
		t.Cleanup(func() { rdb.Close() })
		if next {
			rdb.AddHook(newNextVersion())
		}
		l := core.New(New(rdb, patient))
		t.Cleanup(func() { l.Close() })
		return l
	}
	const most = 50
	agreed := []*core.Policy{
		core.NewPolicy("summed", core.PerHour(most), core.PerMinute(most)),
		core.NewPolicy("coarse", core.PerHour(most), core.Coarse(4)),
		core.NewPolicy("refunded", core.PerHour(most), core.Refundable(0)),
	}
	differs := core.NewPolicy("counted", core.PerHour(most))
	sums := make(map[string]int)
	byVersion := make(map[bool]int)
	for step, running := range [][2]bool{{false, false}, {false, true}, {true, true}, {true, false}, {false, false}} {
		for _, next := range running {
			l := start(next)
			for _, p := range agreed {
				sums[p.Name()] += admit(t, l, p, 7)
				if step == 2 {
					sums[p.Name()] += admit(t, l, p, most)
				}
			}
			byVersion[next] += admit(t, l, differs, 20)
		}
	}
	for _, p := range agreed {
		if sums[p.Name()] != most {
			t.Errorf("%s: both versions have admitted %d, want %d", p, sums[p.Name()], most)
		}
	}
	if byVersion[false] != most || byVersion[true] != most {
		t.Errorf("admitted on logs of two formats: %v, want %d each", byVersion, most)
	}
	keys := server.Client().Keys(t.Context(), "*}:counted:*").Val()
	if len(keys) != 2 {
		t.Errorf("counted logs %v, want one of each format", keys)
	}
	// This version passes over what it can't read.
	logs, err := New(server.Client(), patient).RegisterLogs(t.Context(), nil)
	if err != nil || len(logs) != len(agreed)+2 {
		t.Errorf("registered: %v, %v", logs, err)
	}
}
