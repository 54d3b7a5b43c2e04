package redisstream

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// replyPolicies are one policy of each layout, and one with several limits.
var replyPolicies = []*store.Log{
	countedLog, summedLog, refundedLog, coarseLog, newLog("many", core.PerSecond(1), core.PerMinute(2), core.PerHour(3)),
}

// A reply of another length is an error, and each number is taken for what it
// is: only 1 is room.
func FuzzParseReply(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte{0}, numbers(5, 1, 0, 60000, 5, 60000))
	f.Add([]byte{0, 0}, numbers(1, 7, 5, 1, 0, 60000, 5, 60000))
	f.Add([]byte{0}, numbers(5, 1, 0, 60000, 5))
	f.Add([]byte{2}, numbers(7, 0, 10, 60000, 100, 10, 0, 0))
	f.Add([]byte{4, 1}, numbers(9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 5, 1, 0, 9, 9, 9))
	f.Add([]byte{3}, numbers(5, 2, -1, 1<<62, -1<<63, 1<<63-1))
	f.Fuzz(func(t *testing.T, choice, bytes []byte) {
		var asks []store.Charge
		for _, c := range choice[:min(len(choice), 4)] {
			asks = append(asks, store.Charge{Log: replyPolicies[int(c)%len(replyPolicies)]})
		}
		reply := make([]int64, len(bytes)/8)
		for i := range reply {
			reply[i] = int64(binary.LittleEndian.Uint64(bytes[8*i:]))
		}
		charges := make([]charge, len(asks))
		for i, a := range asks {
			charges[i].policy = a.Log
		}
		usages, err := parseSeveral(reply, charges)
		if good := wellFormed(reply, asks); (err == nil) != good || err != nil && usages != nil {
			t.Fatalf("%v, which is well formed: %v, is read as %v, %v", reply, good, usages, err)
		}
		for i, u := range usages {
			p := asks[i].Log
			short := reply[0] == 1
			reply = reply[1:]
			if short {
				window := p.Longest
				want := store.Usage{Source: core.SourceRedis, Allowed: true, ResetAfter: window}
				want.Limits[0] = store.LimitUsage{Used: reply[0], FreeIn: window}
				if u != want {
					t.Fatalf("%v of %v is read as %+v", p, reply, u)
				}
				reply = reply[1:]
				continue
			}
			if u.Allowed != (reply[0] == 1) || u.Source != core.SourceRedis || u.RetryAfter != millis(reply[1]) || u.ResetAfter != millis(reply[2]) {
				t.Fatalf("%v of %v is read as %+v", p, reply, u)
			}
			reply = reply[3:]
			for j, l := range u.Limits {
				if j >= len(p.Limits) {
					if l != (store.LimitUsage{}) {
						t.Fatalf("%v has %d limits: %+v", p, len(p.Limits), u)
					}
					continue
				}
				if l.Used != reply[0] || l.FreeIn != millis(reply[1]) {
					t.Fatalf("%v: limit %d of %v is read as %+v", p, j, reply, l)
				}
				reply = reply[2:]
			}
			if p.Refundable() {
				if u.Entry.Time != reply[0] || u.Entry.Total != reply[1] {
					t.Fatalf("%v: entry of %v is read as %+v", p, reply, u.Entry)
				}
				reply = reply[2:]
			} else if u.Entry != (store.EntryID{}) {
				t.Fatalf("%v: entry %+v", p, u.Entry)
			}
		}
	})
}

// wellFormed reports whether each policy's reply stands behind its length.
func wellFormed(replies []int64, asks []store.Charge) bool {
	for _, a := range asks {
		want := int64(3 + 2*len(a.Log.Limits))
		if a.Log.Refundable() {
			want += 2
		}
		if len(replies) == 0 || int64(len(replies)) <= replies[0] {
			return false
		}
		if replies[0] != want && (a.Log.Layout != store.Counted || replies[0] != 1) {
			return false
		}
		replies = replies[1+replies[0]:]
	}
	return len(replies) == 0
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func numbers(all ...int64) (bytes []byte) {
	for _, n := range all {
		bytes = binary.LittleEndian.AppendUint64(bytes, uint64(n))
	}
	return bytes
}

// An entry either took units or gave some back, at a time that it says.
func FuzzParseEntry(f *testing.F) {
	for _, id := range []string{"1700000000000-5", "0-1", "18446744073709551615-18446744073709551615", "-1-1", "", "1700000000000", "+5-1"} {
		for _, cost := range []string{"1", "-3", "", "1e3", "-9223372036854775808", "9223372036854775807"} {
			f.Add(id, "c", cost)
		}
	}
	f.Add("1700000000000-5", "d", "1")
	f.Fuzz(func(t *testing.T, id, name, cost string) {
		for _, p := range replyPolicies {
			e, err := parseEntry(p, redis.XMessage{ID: id, Values: map[string]any{name: cost}})
			if err != nil {
				if !strings.Contains(err.Error(), p.Policy) || cost != "" && len(cost) > 9 && strings.Contains(err.Error(), cost) {
					t.Fatalf("error %q is to name the policy and not what is in the log", err)
				}
				continue
			}
			if before, _, _ := strings.Cut(id, "-"); strings.TrimLeft(before, "+0") != strings.TrimLeft(strconv.FormatInt(e.Time.UnixMilli(), 10), "0") {
				t.Fatalf("%q is read as %v", id, e.Time)
			}
			if p.Layout == store.Counted && (e.Cost != 1 || e.Refund != 0) || e.Cost < 0 || e.Refund < 0 || e.Cost > 0 && e.Refund > 0 {
				t.Fatalf("%q of a log of %v is read as %+v", cost, p, e)
			}
		}
	})
}

// INFO is found what it is asked for, whatever else it says.
func FuzzParseInfo(f *testing.F) {
	f.Add("# Server\r\n", "7.0.15", "noeviction", "0", "os:Linux\r\n")
	f.Add("", "6.2", "allkeys-lru", "1000", "")
	f.Add("maxmemory:\n", "", "", "", ":::\x00\n")
	f.Add("a\r\nredis_version", "255.255.255", "volatile-ttl", "x", "redis_version")
	f.Fuzz(func(t *testing.T, before, version, eviction, memory, after string) {
		parseInfo("", before+version+after)
		for _, s := range []string{before, after} {
			if strings.Contains(s, "redis_version") || strings.Contains(s, "maxmemory") {
				return
			}
		}
		for _, s := range []string{version, eviction, memory} {
			if strings.TrimSpace(s) != s || strings.Contains(s, "\n") {
				return
			}
		}
		info := before + "\r\nredis_version:" + version + "\r\nmaxmemory:" + memory + "\nmaxmemory_policy:" + eviction + "\r\n" + after
		want := setup{address: "a", version: version, eviction: eviction, maxMemory: memory}
		got := parseInfo("a", info)
		if got != want {
			t.Fatalf("%q is read as %+v", info, got)
		}
		if major, err := strconv.Atoi(strings.SplitN(version, ".", 2)[0]); got.old() != (err == nil && major < 7) {
			t.Fatalf("version %q: old is %v", version, got.old())
		}
	})
}

// No key reaches the server as it is: the log of a key is in the hash slot of its
// digest, short whatever the key, and no other key's or policy's.
func FuzzLogKey(f *testing.F) {
	s := &Store{prefix: DefaultPrefix}
	for _, key := range []string{"", "a", "\x00", "{tag}", "}{", "a\r\nDEL b", "\xff\xfe", "user=ann", strings.Repeat("k", 1000)} {
		f.Add(key, key+"x", uint8(0), uint8(1))
		f.Add(key, "", uint8(2), uint8(2))
	}
	megabyte := strings.Repeat("k", 1<<20)
	checkLogKey(f, s, megabyte, megabyte+"x", countedLog, summedLog)
	f.Fuzz(func(t *testing.T, a, b string, i, j uint8) {
		checkLogKey(t, s, a, b, replyPolicies[int(i)%len(replyPolicies)], replyPolicies[int(j)%len(replyPolicies)])
	})
}

func checkLogKey(t testing.TB, s *Store, a, b string, p, q *store.Log) {
	t.Helper()
	la, lb := s.logKey(p, a), s.logKey(q, b)
	if (la == lb) != (a == b && p == q) {
		t.Fatalf("%q under %v and %q under %v have the logs %s and %s", a, p, b, q, la, lb)
	}
	sum := sha256.Sum256([]byte(a))
	tag := "{" + base64.RawURLEncoding.EncodeToString(sum[:16]) + "}"
	if la != DefaultPrefix+tag+":"+p.Name || scratch(la) != DefaultPrefix+tag {
		t.Fatalf("%q has the log %q and the scratch key %q", a, la, scratch(la))
	}
	if strings.ContainsFunc(la, func(c rune) bool { return c <= ' ' || c > '~' }) || len(la) > 128 {
		t.Fatalf("%q has the log %q", a, la)
	}
}
