package core

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/clientip"
	"github.com/streamlimit/streamlimit/core/store"
)

// A rule is brought into one form, which stays what it is when it is stored and
// read again, and holds for whom it says and for nobody else.
func FuzzRule(f *testing.F) {
	for _, text := range []string{
		`{"kind":"block","key":"user=ann"}`,
		`{"kind":"block","network":"::ffff:198.51.100.7/120"}`,
		`{"kind":"ban","key":"192.0.2.1","until":"2099-01-01T00:00:00.123456789+02:00"}`,
		`{"kind":"ban","network":"2001:db8::1/32","until":"1970-01-01T00:00:00Z"}`,
		`{"kind":"exempt","network":"0.0.0.0/0"}`,
		`{"kind":"exempt","key":"\u0000{}\ud800"}`,
		`{"kind":"override","policy":"search","limits":["5/s","1000/h"]}`,
		`{"kind":"override","policy":"search","limits":["1/s","2/s"]}`,
		`{"kind":"block","key":"a","until":"0001-01-01T00:00:00.0001Z"}`,
		`{"kind":"block","key":"a","until":"0000-01-01T00:00:00Z"}`,
		`{"kind":"switch","policy":"search","mode":"off"}`,
		`{"kind":"switch","policy":"*","mode":"shadow","until":"2099-01-01T00:00:00Z"}`,
		`{"kind":"Block","key":"a","network":"10.0.0.0/8"}`,
	} {
		f.Add(text, "192.0.2.1", []byte{198, 51, 100, 9})
	}
	f.Fuzz(func(t *testing.T, text, key string, address []byte) {
		var given Rule
		if json.Unmarshal([]byte(text), &given) != nil {
			return
		}
		r, err := given.normalize()
		if err != nil {
			return
		}
		again, err := r.normalize()
		if err != nil || !reflect.DeepEqual(again, r) || again.ID() != given.ID() {
			t.Fatalf("%+v is not in its form: %+v, %v, ID %q and %q", r, again, err, given.ID(), again.ID())
		}
		var stored Rule
		text2, err := json.Marshal(r)
		if err == nil {
			err = json.Unmarshal(text2, &stored)
		}
		if err != nil || !reflect.DeepEqual(stored, r) {
			t.Fatalf("%+v is read as %+v, %v", r, stored, err)
		}
		if len(r.ID()) > len("override network ")+maxKeyLength {
			t.Fatalf("ID of %d bytes", len(r.ID()))
		}
		now := time.Now()
		if given.ended(now) && !r.ended(now) {
			t.Fatalf("%s has ended, and %+v has not", text, r)
		}
		holdsFor(t, r, key, address, now)
	})
}

// holdsFor checks that the rule is found for a client exactly when it is about
// it.
func holdsFor(t *testing.T, r Rule, key string, address []byte, now time.Time) {
	addr, _ := netip.AddrFromSlice(address)
	addr = clientip.Plain(addr)
	s := ruleset{clock: func() time.Time { return now }}.after(store.RuleChanges{All: true}, []Rule{r})
	for _, key := range []string{boundedKey(key), r.Key} {
		want := !r.aboutPolicy() && !r.ended(now) &&
			(r.Network.IsValid() && r.Network.Contains(addr) || !r.Network.IsValid() && r.Key == key)
		if _, _, got := s.on(key, oneAddress(addr)); got != want {
			t.Fatalf("%+v on %q from %v: %v, want %v", r, key, addr, got, want)
		}
	}
}

// A rule's text is read in full or rejected. If an unknown field were ignored, the rule
// could apply to more clients than its author meant.
func FuzzReadRule(f *testing.F) {
	for _, text := range []string{
		"", "0", "null", "{}",
		`{"kind":"block","key":"a"}`,
		`{"kind":"ban","network":"198.51.100.0/24","until":"2023-11-14T22:13:20Z"}`,
		`{"kind":"override","policy":"search","limits":["5/s"]}`,
		`{"kind":"exempt","network":"0.0.0.0/0","unless":"user=ann"}`,
		`{"kind":"exempt","network":"0.0.0.0/0"} {"unless":"user=ann"}`,
		`{"kind":"exempt","network":"0.0.0.0/0"},`,
		`{"kind":"block","key":1}`, "[1", "\x00\xff",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := readRule(text)
		if err != nil {
			return
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &fields); err != nil {
			t.Fatalf("%q is read as %+v: %v", text, r, err)
		}
		for name := range fields {
			switch strings.ToLower(name) {
			case "kind", "key", "network", "policy", "limits", "mode", "until":
			default:
				t.Fatalf("%q is read as %+v, without its %q", text, r, name)
			}
		}
		stored, err := json.Marshal(r)
		if err != nil {
			return // SetRule rejects such a rule, and the limiter ignores it
		}
		if again, err := readRule(string(stored)); err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v is read again as %+v, %v", r, again, err)
		}
	})
}
