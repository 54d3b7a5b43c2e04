package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/core/store"
)

// longestName bounds the names of keys in Redis, in bytes.
const longestName = 128

// hostileKeys are different keys that a careless store might mix up.
func hostileKeys() []string {
	digest := "sha256=" + strings.Repeat("0", 32)
	long := strings.Repeat("k", 1<<20) // 1 MB
	return []string{
		"k", "K", "k ", " k", "k\x00", "\x00k", "\x00", "\x00\x00", "k\n", "k\r\n", "k\t",
		"{k}", "{}", "{", "}", "}{", "{k}:api:c1m", "{k}k", "streamlimit:k", "streamlimit:{rules}", "*", "k*", "[k]", "?",
		"\xff", "\xfe", "k\xff", "k\xfe", "\xc3\x28", "\xed\xa0\x80", "\xef\xbf\xbd", "k\xef\xbf\xbd",
		"é", "e\u0301", "\u202ek", "\u200bk", "k\u0000\u200b",
		"1", "01", "+1", "1.0", "-1", "0", "nil", "false", "+", "-", "$", "0-0",
		"user=k", "user=", "=k", "1:k", "1:k,1:k", "3:k,1",
		"127.0.0.1", "::ffff:127.0.0.1", "::1", "2001:db8::/64",
		"'; return 1 --", "\"]]", "]] redis.call('FLUSHALL') --", "KEYS[1]", "%d", "%s", "\\", "../../etc/passwd",
		digest, digest + "0", "sha256=", "SHA256=" + strings.Repeat("0", 32),
		long, long + "k", long[1:], "\x00" + long[1:], strings.Repeat("k", 128), strings.Repeat("k", 129), strings.Repeat("é", 64), strings.Repeat("é", 65),
	}
}

// randomKey returns random bytes, usually few, and different for each i.
func randomKey(i int) string {
	b := make([]byte, rand.IntN(20), 600)
	if rand.IntN(20) == 0 {
		b = b[:rand.IntN(500)]
	}
	const alphabet = "k\x00{}:\xff\xc3\xa9=*, \n"
	for n := range b {
		b[n] = alphabet[rand.IntN(len(alphabet))]
	}
	return string(binary.AppendUvarint(b, uint64(i)+1<<40))
}

// Each key must have a budget of its own: the first request of a key is admitted,
// and its second one is not.
func TestRow20_HostileKeys(t *testing.T) {
	t.Parallel()
	r := row(t, 20)
	keys := hostileKeys()
	for i := range scale(2_000, 50_000) {
		keys = append(keys, randomKey(i))
	}
	server := redistest.Start(t)
	executions := 0
	for name, shared := range map[string]core.Store{"memory": core.NewMemory(), "redis": connect(t, server)} {
		l := core.New(shared, core.WithFailureMode(core.FailClosed))
		t.Cleanup(func() { l.Close() })
		p := core.NewPolicy("once", core.Per(1, store.MaxWindow))
		if _, err := l.Allow(t.Context(), p, ""); !errors.Is(err, core.ErrNoKey) {
			t.Errorf("%s: the empty key: %v, want ErrNoKey", name, err)
		}
		shown := make(map[string]bool)
		for _, key := range keys {
			d, err := l.Allow(t.Context(), p, key)
			if err != nil || !d.Allowed {
				t.Errorf("%s: %s: allowed %v, %v: another key's budget", name, short(key), d.Allowed, err)
			}
			if len(d.Key) > longestName || !utf8.ValidString(d.Key) || shown[d.Key] {
				t.Errorf("%s: %s is shown as %s", name, short(key), short(d.Key))
			}
			shown[d.Key] = true
			if d, err := l.Allow(t.Context(), p, key); err != nil || d.Allowed {
				t.Errorf("%s: %s again: allowed %v, %v", name, short(key), d.Allowed, err)
			}
			executions += 2
		}
	}
	longest := 0
	names := server.Client().Keys(t.Context(), "*}:*").Val() // those of logs
	for _, name := range names {
		longest = max(longest, len(name))
	}
	if len(names) != len(keys) || longest > longestName {
		t.Errorf("%d names in Redis, up to %d bytes, for %d keys", len(names), longest, len(keys))
	}
	joined := joins(t)
	r.Figure("%d executions, 0 collisions; longest name in Redis %d B; %d joined keys", executions, longest, joined)
}

// joins makes keys of parts that could collide.
func joins(t *testing.T) int {
	t.Helper()
	parts := []string{"a", "b", ",", ":", "1", "1:a", "1:a,1:b", "a,b", "a,1:b", ",1:a"}
	made := make(map[string]string)
	check := func(list ...string) {
		key, err := adapter.JoinKeys(list...)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%q", list)
		if other, ok := made[key]; ok && other != text {
			t.Errorf("%s and %s are one key", text, other)
		}
		made[key] = text
	}
	for _, one := range parts {
		check(one)
		for _, two := range parts {
			check(one, two)
			for _, three := range parts {
				check(one, two, three)
			}
		}
	}
	return len(made)
}

func short(key string) string { return fmt.Sprintf("%.60q (%d bytes)", key, len(key)) }
