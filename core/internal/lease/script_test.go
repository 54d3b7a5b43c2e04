package lease

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// script is refunded.lua on a real server, under the clock of a world.
type script struct {
	testing.TB
	rdb    *redis.Client
	source *redis.Script
	prefix string
}

func newScript(t testing.TB) *script {
	read := func(name string) string {
		text, err := os.ReadFile("../../redisstream/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	source := strings.Replace(read("refunded.lua"), "\n-- prelude.lua\n", "\n"+read("prelude.lua"), 1)
	rdb := redis.NewClient(redistest.Start(t).Options())
	t.Cleanup(func() { rdb.Close() })
	return &script{
		TB: t, rdb: rdb,
		source: redis.NewScript(read("testdata/clock.lua") + strings.TrimPrefix(source, "#!lua\n")),
	}
}

func (s *script) run(w *world, key string, args ...any) []int64 {
	s.Helper()
	tag := "{" + s.prefix + key + "}"
	args = append(args, epochOfWorlds+w.now+w.offset)
	reply, err := s.source.Run(s.Context(), s.rdb, []string{tag + ":log", tag}, args...).Int64Slice()
	if err != nil {
		s.Fatal(err)
	}
	return reply
}

// decide makes the server decide too, and compares the decisions.
func (s *script) decide(w *world, limits []limit, c *Call[keyOf, found], want Reply[found]) error {
	units, alone := c.Alone()
	args := []any{"take", units, w.longestWindow(), 0}
	if !alone {
		args[0], args[1] = "lease", c.Ahead
	}
	for _, l := range limits {
		args = append(args, l.max, l.window+w.extra())
	}
	if !alone {
		for _, want := range c.Wants {
			args = append(args, want.Count, want.Least, want.Most)
		}
		args = append(args, len(c.Wants))
	}
	got := s.run(w, c.Key.name, args...)
	n := 3 + 2*len(limits)
	if alone {
		if fits := want.Room >= units; got[0] == 1 != fits {
			return fmt.Errorf("at %d: the server admits %d units: %v, the model %v", w.now, units, got[0] == 1, fits)
		}
	} else if room := max(0, want.Room); got[0] != room || got[1] != want.Ahead {
		return fmt.Errorf("at %d: the server has room for %d and takes %d ahead, the model %d and %d", w.now, got[0], got[1], room, want.Ahead)
	}
	if entry := want.State.entry; entry != nil {
		entry.id = fmt.Sprintf("%d-%d", got[n], got[n+1])
		if got[n]-epochOfWorlds != entry.time {
			return fmt.Errorf("at %d: the server's entry is of %d, the model's of %d", w.now, got[n]-epochOfWorlds, entry.time)
		}
	}
	return nil
}

// correct makes the server take units back too.
func (s *script) correct(w *world, r Return[keyOf, found], want bool) error {
	got := s.run(w, r.Key.name, "correct", -r.Units, w.longestWindow(), 0, 2*w.length, r.State.entry.id)
	if got[0] == 1 != want {
		return fmt.Errorf("at %d: the server takes back units of %d: %v, the model %v", w.now, r.State.entry.time, got[0] == 1, want)
	}
	return nil
}

// TestScriptHistories runs some of the histories with the real script on a real server,
// which has to decide as the model does.
func TestScriptHistories(t *testing.T) {
	s := newScript(t)
	for seed := range histories(t) / 20 {
		s.prefix = fmt.Sprint(seed, "-")
		if _, err := history(uint64(seed), broken{}, s); err != nil {
			t.Fatal(err)
		}
	}
}
