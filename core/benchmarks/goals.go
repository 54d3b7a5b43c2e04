package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// goal is a ratio or a figure that was aimed at, before it was measured.
type goal struct {
	What    string `json:"what"`
	Wanted  string `json:"wanted"`
	Reached figure `json:"reached"`
	Unit    string `json:"unit,omitempty"`
	Met     bool   `json:"met"`
}

// goals are those whose parts were measured.
func (b *bench) goals() []goal {
	var all []goal
	add := func(what, wanted string, reached float64, unit string, met bool) {
		if !math.IsNaN(reached) {
			all = append(all, goal{what, strings.TrimSpace(wanted + " " + unit), figure(reached), unit, met})
		}
	}
	atMost := func(what string, reached, bound float64, unit string) {
		add(what, fmt.Sprintf("<= %v", bound), reached, unit, reached <= bound)
	}
	below := func(what string, reached, bound float64, unit string) {
		add(what, fmt.Sprintf("< %v", bound), reached, unit, reached < bound)
	}
	atLeast := func(what string, reached, bound float64) {
		add(what, fmt.Sprintf(">= %v", bound), reached, "", reached >= bound)
	}

	const rival = "redis_rate"
	cpu, two := b.table("cpu"), b.table("cpu-two")
	for _, callers := range []string{"64 callers", "1 caller"} {
		atMost("Redis CPU a decision, warm keys, "+callers+", against "+rival, cpu.ratio("warm keys, "+callers, rival), 0.85, "")
	}
	for _, callers := range []string{"64 callers", "1 caller"} {
		atMost("two limits at once, "+callers+", against two calls of "+rival, two.ratio("warm keys, "+callers, rival), 0.85, "")
	}
	atMost("Redis CPU, Zipf mix with a third denied, against "+rival, cpu.ratio("Zipf, a third denied, 64 callers", rival), 0.4, "")

	many, p99, hot := b.table("throughput-many"), b.table("p99-many"), b.table("throughput-hot")
	for _, callers := range []string{"64", "512"} {
		bound := 1.2
		if callers == "512" {
			bound = 1.6
		}
		best := b.toughest(many, callers, true, slices.MinFunc)
		atLeast("throughput, 10,000 keys, "+callers+" callers, against "+best, many.ratio(callers, best), bound)
		quickest := b.toughest(p99, callers, true, slices.MaxFunc)
		atMost("p99, 10,000 keys, "+callers+" callers, against "+quickest, p99.ratio(callers, quickest), 1, "")
	}
	best := b.toughest(hot, "512", true, slices.MinFunc)
	atLeast("throughput, one hot key, 512 callers, against "+best, hot.ratio("512", best), 4)
	p50 := b.table("p50-many")
	best = b.toughest(p50, "1", false, slices.MaxFunc)
	atMost("p50 of one caller, 10,000 keys, against "+best, p50.ratio("1", best), 1.05, "")

	flood := b.table("flood")
	below("denied flood: script calls a request", flood.get(us, "commands a request"), 0.01, "")
	below("denied flood: a denial in the process", flood.get(us, "a denial, µs"), 1, "µs")
	atMost("denied flood: its allocations", math.Round(flood.get(us, "allocs")*100)/100, 0, "")

	memory := b.table("memory")
	request := func(name string) float64 { return (memory.get(name, "10000") - memory.get(name, "1")) / 9999 }
	atMost("memory of a client seen once, by a policy named api", memory.get(us, "1"), 360, "B")
	atMost("memory of a logged request, of 10,000", request(us), 12, "B")
	atMost("a logged request against one in a sorted set: memory", request(us)/request("sorted set"), 0.125, "")

	audit := b.table("audit")
	for _, column := range audit.Columns {
		atMost("admitted above the limit: "+column, audit.get(us, column), 0, "")
	}
	scale, coarse := b.table("scale"), b.table("coarse")
	atMost("cost 5,000 against cost 1", scale.get("cost 5,000", "ratio"), 1.1, "")
	for _, layout := range []string{"one limit", "one limit, any cost"} {
		atMost("limit 1,000,000 against 10, "+layout, scale.get(layout+", limit 1,000,000", "ratio"), 1.1, "")
	}
	atMost(fmt.Sprintf("coarse log, %.0f requests in the window", coarse.get("coarse", "requests in the window")), coarse.get("coarse", "bytes")/1000, 130, "kB")
	atMost("coarse log, against the summed one", coarse.get("coarse", "ratio"), 1.25, "")

	monitor := b.table("monitor")
	atMost("time of a decision with the monitor, against one without", monitor.ratio("time", unwatched), 1.03, "")
	const busy = 20_000
	rate := "decisions a second with the monitor"
	if alone := monitor.get(unwatched, "decisions a second"); alone < busy {
		rate += fmt.Sprintf(" (this machine makes %.0f without it)", alone)
	}
	atLeast(rate, monitor.get(watched, "decisions a second"), busy)
	atMost("heap of the monitor, 100,000 keys", monitor.get(watched, "heap, kB"), 5000, "kB")
	observe := b.table("observe")
	below("what the monitor costs a decision's caller, 100,000 keys", observe.get("Observe", "ns"), 200, "ns")
	atMost("allocations of the monitor, a decision", math.Round(observe.get("Observe", "allocs")*100)/100, 0, "")
	below("longest wait for an event on the monitor's page", monitor.get(watched, "longest wait for one, ms")/1000, 2, "s")

	requests := b.table("request")
	for _, c := range b.contests {
		below(c.ours+" against "+c.usual+": time", requests.ratio("ns", c.usual), 1, "")
		below("allocations, "+c.ours+" against "+c.usual, requests.get(c.ours, "allocs")/requests.get(c.usual, "allocs"), 1, "")
	}
	return all
}

// toughest is the peer against which a ratio is worst for us: the least or the
// highest, as choose says.
func (b *bench) toughest(t *table, column string, atomic bool, choose func([]peer, func(x, y peer) int) peer) string {
	others := slices.DeleteFunc(slices.Clone(b.peers), func(p peer) bool {
		return p.name == us || atomic && !p.atomic || math.IsNaN(t.ratio(column, p.name))
	})
	if len(others) == 0 {
		return ""
	}
	return choose(others, func(x, y peer) int {
		return cmp.Compare(t.ratio(column, x.name), t.ratio(column, y.name))
	}).name
}

func printGoals(w io.Writer, goals []goal) {
	if len(goals) == 0 {
		return
	}
	fmt.Fprint(w, "\nGoals\n\n")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "goal\twanted\treached\tmet?")
	for _, g := range goals {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", g.What, g.Wanted, g.reached(), g.met())
	}
	_ = tw.Flush()
}

func (g goal) reached() string {
	format := "%.4g %s"
	if g.Reached >= 10_000 {
		format = "%.0f %s" // no exponent
	}
	return strings.TrimSpace(fmt.Sprintf(format, float64(g.Reached), g.Unit))
}

func (g goal) met() string {
	if g.Met {
		return "yes"
	}
	return "NO"
}
