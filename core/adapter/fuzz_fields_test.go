package adapter

import (
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/store"
)

// The response fields are lists by RFC 9651. They have the right values for each limit of
// each policy, under the same name in both fields.
func FuzzFields(f *testing.F) {
	f.Add("api", "api", "api", "100/minute", "5/10s", []byte{1, 0, 2, 3}, int64(0))
	f.Add("search", "search", "other", "10/s,1000/h,5/1.5s", "10/s,1000/h", []byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8}, int64(7))
	f.Add("a-2", "a", "a", "1000000000000/30d", "1/1ms", []byte("usage of each limit"), int64(1))
	f.Add("x", "x-minute", "x", "1/s,1/m", "1/s,1/m", []byte{}, int64(2592000))
	f.Add(`q"\`, "new\r\nline", "ü", "1/s", "1/s", []byte{}, int64(0))
	f.Fuzz(func(t *testing.T, name, other, field, limits, others string, used []byte, retryAfter int64) {
		p, err := core.ParsePolicy(name, strings.Split(limits, ","))
		if err != nil {
			return
		}
		q, err := core.ParsePolicy(other, strings.Split(others, ","), core.FieldName(field), core.VariableCost())
		if err != nil {
			return
		}
		retryAfter &= 1<<22 - 1
		asked := [][]core.Decision{
			{fuzzedDecision(p, used)},
			{fuzzedDecision(p, used), fuzzedDecision(q, append(used, 7))},
			{fuzzedDecision(q, used), fuzzedDecision(p, used), fuzzedDecision(q, used)},
		}
		for _, decisions := range asked {
			fields := map[string]string{}
			SetHeaders(decisions, []core.HeaderForm{core.HeadersIETF, core.HeadersX, core.HeadersDraft06}, retryAfter, fuzzedFields(fields))
			checkIETF(t, decisions, retryAfter, fields)
			for _, prefix := range []string{"X-RateLimit-", "RateLimit-"} {
				quota, left, reset := fields[prefix+"Limit"], fields[prefix+"Remaining"], fields[prefix+"Reset"]
				if number(quota) < 1 || number(left) < 0 || number(left) > number(quota) || number(reset) < 0 {
					t.Fatalf("%s: limit %q, remaining %q, reset %q", prefix, quota, left, reset)
				}
			}
			if len(fields) != 8 {
				t.Fatalf("fields %q, want eight", fields)
			}
		}
	})
}

func checkIETF(t *testing.T, decisions []core.Decision, retryAfter int64, fields map[string]string) {
	policies, err := parseList(fields["RateLimit-Policy"])
	if err != nil {
		t.Fatalf("RateLimit-Policy: %q: %v", fields["RateLimit-Policy"], err)
	}
	states, err := parseList(fields["RateLimit"])
	if err != nil {
		t.Fatalf("RateLimit: %q: %v", fields["RateLimit"], err)
	}
	var i int
	seen := map[string]bool{}
	for _, d := range decisions {
		for j, s := range d.States() {
			if i >= len(policies) || i >= len(states) {
				t.Fatalf("fields %q, want an item for each limit", fields)
			}
			p, r := policies[i], states[i]
			i++
			if seen[p.text] || p.text != r.text {
				t.Fatalf("fields %q: items of a limit are called %q and %q", fields, p.text, r.text)
			}
			seen[p.text] = true
			want := []parameter{{"q", s.Limit.Max}}
			if s.Limit.Window%time.Second == 0 {
				want = append(want, parameter{"w", int64(s.Limit.Window / time.Second)})
			}
			if !slices.Equal(p.parameters, want) {
				t.Fatalf("%q: item %q has %v, want %v", fields, p.text, p.parameters, want)
			}
			want = []parameter{{"r", s.Remaining}}
			if wait := (s.Reset + time.Second - 1) / time.Second; retryAfter == 0 || int64(wait) <= retryAfter {
				want = append(want, parameter{"t", int64(wait)})
			}
			if !slices.Equal(r.parameters, want) || s.Remaining > s.Limit.Max {
				t.Fatalf("%q: item %d has %v, want %v", fields, j, r.parameters, want)
			}
		}
	}
	if i != len(policies) || i != len(states) {
		t.Fatalf("fields %q, want %d items", fields, i)
	}
}

// fuzzedDecision returns a decision on a log with the given use. The use can be above a
// limit, after the limit was lowered or after a settlement.
func fuzzedDecision(p *core.Policy, used []byte) core.Decision {
	next := func() int64 {
		var n [8]byte
		used = used[copy(n[:], used):]
		return int64(binary.LittleEndian.Uint64(n[:]) >> 1)
	}
	u := store.Usage{Allowed: next()&1 != 0, Source: core.SourceRedis}
	for i := range len(p.Limits()) {
		u.Limits[i] = store.LimitUsage{Used: next() % (2 * store.MaxUnits), FreeIn: time.Duration(next()%(store.MaxWindow.Milliseconds()+1)) * time.Millisecond}
	}
	l := core.New(told{core.NewMemory(), u})
	defer l.Close()
	d, err := l.Allow(context.Background(), p, "key")
	if err != nil {
		panic(err)
	}
	return d
}

// told is a store that returns the usages of a test.
type told struct {
	core.Store
	usage store.Usage
}

func (t told) Take(context.Context, *store.Log, string, int64) (store.Usage, error) {
	return t.usage, nil
}

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > maxInteger || s != strconv.FormatInt(n, 10) {
		return -1
	}
	return n
}

type fuzzedFields map[string]string

func (f fuzzedFields) SetHeader(name, value string) {
	f[strings.Replace(name, "Ratelimit", "RateLimit", 1)] = value
}
