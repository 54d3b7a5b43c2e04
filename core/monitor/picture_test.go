package monitor

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// The picture stays bounded and usable with any entries in the feed.
func TestForeignEntries(t *testing.T) {
	p := newPicture()
	now := time.Now().Truncate(time.Second).UnixMilli()
	add := func(text string) {
		if e, err := parseEntry([]byte(text)); err == nil {
			p.add(e, now)
		}
	}
	for _, text := range []string{
		"", "null", "[]", "{}", `{"id":""}`, `{"id":7}`, `{"v":2,"id":""}`, `{"v":2,"id":7}`, `{"v":"2","id":"a"}`, `{"v":3,"id":"a"}`, `{"v":2,"id":"` + strings.Repeat("x", 100) + `"}`,
		`{"v":2,"id":"a","t":-1,"counts":{"p":{"allowed":1}}}`, `{"v":2,"id":"a","t":9223372036854775807,"counts":{"p":{"allowed":1}}}`,
		`{"v":2,"id":"a","t":-9223372036854775808,"counts":{"p":{"allowed":1}}}`, `{"v":2,"id":"a","t":1,"counts":{"p":null},"routes":{"r":null},"policies":{"p":null}}`,
		`{"v":2,"id":"a","t":2,"counts":{"p":{"allowed":1,"from the future":9}},"requests":null,"top":{"allowed":null}}`,
		`{"v":2,"id":"a","t":3,"counts":{"p":[1]}}`, `{"v":2,"id":"a","t":3,"counts":"` + strings.Repeat("x", maxEntry) + `"}`,
	} {
		add(text)
	}
	for i := range 1000 {
		add(fmt.Sprintf(`{"v":2,"id":"p%d","t":%d,"counts":{"n%d":{"allowed":1}},"requests":{"allowed":1},"routes":{"r%d":{"allowed":1}},"policies":{"n%d":{"limits":["1/s"]}},"top":{"allowed":[%s{}]}}`,
			i, now, i, i, i, strings.Repeat(`{"key":"k"},`, 100)))
	}
	pic := p.show(now + second1)
	if len(pic.Processes) > maxProcesses || len(pic.Policies) > 2*maxPolicies+2 || len(pic.Routes) > maxRoutes+1 || len(pic.Top.Allowed) > topKeys {
		t.Errorf("%d processes, %d policies, %d routes, %d keys", len(pic.Processes), len(pic.Policies), len(pic.Routes), len(pic.Top.Allowed))
	}
	var total int64
	for _, one := range pic.Policies {
		total += one.Allowed
	}
	if total < 1000 {
		t.Errorf("%d decisions counted, want 1000 and a few", total)
	}
}

// An entry is decoded to the same values, by names. Processes need not agree on the order
// of constants.
func TestEntryVersions(t *testing.T) {
	all := new(tally)
	for i := range all {
		all[i] = int64(i + 1)
	}
	e := entry{Version: entryVersion, Process: "a", Counts: tallies{"p": all, "none": {}}, Requests: &tally{atDenied: -1}}
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	want := `"p":{"allowed":1,"denied":2,"shadow_denied":3,"overloaded":4,"error":5,"redis":6,"lease":7,"memory":8,"fallback":9,"none":10,"open":11}`
	if !strings.Contains(string(data), want) || !strings.Contains(string(data), `"v":2`) {
		t.Errorf("%s, want %s in it", data, want)
	}
	back, err := parseEntry(data)
	if err != nil || *back.Counts["p"] != *all || *back.Counts["none"] != (tally{}) || *back.Requests != (tally{atDenied: -1}) {
		t.Errorf("came back as %+v, %v", back, err)
	}

	// Entries of earlier and later versions are skipped without a crash.
	for _, text := range []string{
		`{"id":"old","host":"h","pid":1,"store":"redis","t":1,"counts":{"p":[5,3,0,2,0]},"routes":{"/r":[5,3,0,2,0]},"p50":1,"p99":2}`,
		`{"v":3,"id":"new","counts":["what", {"is":"this"}]}`,
	} {
		if e, err := parseEntry([]byte(text)); err == nil {
			t.Errorf("%s was read as %+v", text, e)
		}
	}
}

// A policy whose time zone has no data here does not hide the rest of an entry.
func TestEntryOfUnknownZone(t *testing.T) {
	e, err := parseEntry([]byte(`{"v":2,"id":"a","t":1,"counts":{"day":{"allowed":3},"api":{"allowed":4}},"p50":1,"p99":2,"top":{},` +
		`"policies":{"day":{"limits":["5/day@Mars/Olympus"],"layout":"calendar"},"api":{"limits":["9/minute"],"layout":"counted"}}}`))
	if err != nil || e.Counts["day"][atAllowed] != 3 || e.Counts["api"][atAllowed] != 4 || e.Top == nil {
		t.Fatalf("%+v, %v", e, err)
	}
	if len(e.Policies) != 1 || e.Policies["api"].Limits[0] != core.PerMinute(9) {
		t.Errorf("the policies are %+v, want api alone", e.Policies)
	}
}

// A duplicate entry counts once. An entry with a wrong clock counts at the time of its
// arrival.
func TestEntriesCountOnce(t *testing.T) {
	p := newPicture()
	now := time.Now().Truncate(time.Second).UnixMilli()
	e := entry{Process: "a", Time: now - second1, Counts: tallies{"p": {atAllowed: 3}}}
	p.add(e, now)
	p.add(e, now+1)
	for i, off := range []int64{-3 * history, -3000, 3000, 3 * history} {
		p.add(entry{Process: fmt.Sprint("off", i), Time: now - second1 + off, Counts: tallies{"p": {atAllowed: 1}}}, now)
	}
	if got := p.fine.at(now - second1)["p"][atAllowed]; got != 7 {
		t.Errorf("%d allowed, want 7", got)
	}
	if got := p.coarse.sum(now, 2)["p"][atAllowed]; got != 7 {
		t.Errorf("%d allowed by ten seconds, want 7", got)
	}
}

// A policy that is made from published traits equals the original.
func TestTraits(t *testing.T) {
	for _, p := range []*core.Policy{
		core.NewPolicy("counted", core.PerMinute(1)),
		core.NewPolicy("summed", core.PerMinute(1), core.PerHour(7)),
		core.NewPolicy("costs", core.PerMinute(5), core.VariableCost(), core.Shadow()),
		core.NewPolicy("refunded", core.Per(5, 10*time.Second), core.Refundable(3*time.Second)),
		core.NewPolicy("coarse", core.Per(5, 10*time.Second), core.Coarse(64)),
		core.NewPolicy("odd", core.Per(5, 7*time.Millisecond), core.Coarse(5)),
		core.NewPolicy("leased", core.PerMinute(500), core.Lease(time.Second)),
		core.NewPolicy("tokens", core.PerMinute(500), core.VariableCost(), core.Unit("tokens")),
		core.NewConcurrency("slots", 5, 30*time.Second),
		core.NewConcurrency("shadow-slots", 5, 30*time.Second, core.Shadow()),
	} {
		back, err := traitsOf(p, nil).Policy(p.Name())
		if err != nil {
			t.Errorf("%s: %v", p.Name(), err)
			continue
		}
		if back.Log().Name != p.Log().Name || fmt.Sprint(back.Limits()) != fmt.Sprint(p.Limits()) || back.Log().Slice != p.Log().Slice ||
			back.Log().Shadow != p.Log().Shadow || back.Log().VariableCost != p.Log().VariableCost || back.Log().Grace != p.Log().Grace || back.Unit() != p.Unit() || back.Concurrency() != p.Concurrency() {
			t.Errorf("%s came back as %s, slices of %v", p.Log().Name, back.Log().Name, back.Log().Slice)
		}
	}
}

// A reader uses the feed's clock: the machine's own clock can be wrong by hours.
func TestReaderGoesByTheFeedsClock(t *testing.T) {
	for _, ahead := range skews {
		store := newSkewedStore(ahead)
		defer store.Close()
		data := fmt.Appendf(nil, `{"v":2,"id":"a","t":%d,"counts":{"p":{"allowed":5}},"requests":{"allowed":4}}`, store.now().UnixMilli()-second1)
		if _, err := store.AddEntry(t.Context(), data); err != nil {
			t.Fatal(err)
		}
		pic, err := Read(t.Context(), store)
		if err != nil || len(pic.Processes) != 1 || pic.Processes[0].Rate != 4 || len(pic.Policies) != 1 || pic.Policies[0].Allowed != 5 {
			t.Errorf("%v: %+v, %v", ahead, pic, err)
		}
	}
}

// An override acts on a policy made from traits in the same way as on the program's own.
func TestTraitsMakeThePolicyAgain(t *testing.T) {
	for _, options := range [][]core.PolicyOption{
		{core.PerMinute(5)},
		{core.PerMinute(5), core.Refundable(0)},
		{core.PerMinute(5), core.Refundable(10 * time.Second)},
		{core.Per(5, 2001*time.Millisecond), core.Refundable(0), core.VariableCost()},
		{core.PerSecond(1), core.PerHour(5), core.Refundable(0), core.Shadow()},
		{core.PerHour(5), core.Coarse(7)},
		{core.PerMinute(500), core.VariableCost(), core.Lease(time.Second)},
		{core.PerMinute(500), core.Unit("mails")},
	} {
		p := core.NewPolicy("p", options...)
		again, err := traitsOf(p, nil).Policy("p")
		if err != nil {
			t.Fatal(err)
		}
		if a, b := traitsOf(p, nil), traitsOf(again, nil); again.Log().Name != p.Log().Name || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%+v becomes %+v", a, b)
		}
		for _, limit := range []core.Limit{core.PerSecond(1), core.PerDay(1)} {
			want, wantErr := p.With(limit)
			got, err := again.With(limit)
			if fmt.Sprint(err) != fmt.Sprint(wantErr) || err == nil && fmt.Sprint(traitsOf(got, nil)) != fmt.Sprint(traitsOf(want, nil)) {
				t.Errorf("%+v overridden: %+v, %v, want %+v, %v", traitsOf(p, nil), got, err, want, wantErr)
			}
		}
	}
}
