package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// part is one thing that is measured.
type part struct {
	name        string
	quick, full time.Duration // about what it takes
	measure     func(b *bench) error
}

var parts = []part{
	{"cpu", 20 * time.Second, 200 * time.Second, measureCPU},
	{"wire", 3 * time.Second, 10 * time.Second, measureWire},
	{"load", 25 * time.Second, 280 * time.Second, measureLoad},
	{"memory", 15 * time.Second, 100 * time.Second, measureMemory},
	{"decision", 4 * time.Second, 15 * time.Second, measureDecisions},
	{"request", 4 * time.Second, 15 * time.Second, measureRequests},
	{"flood", 2 * time.Second, 10 * time.Second, measureFlood},
	{"scale", 4 * time.Second, 30 * time.Second, measureScale},
	{"lease", 20 * time.Second, 110 * time.Second, measureLease},
	{"coarse", 6 * time.Second, 45 * time.Second, measureCoarse},
	{"monitor", 8 * time.Second, 97 * time.Second, measureMonitor},
	{"audit", 20 * time.Second, 75 * time.Second, measureAudit},
}

func main() {
	if os.Getenv(workerVariable) != "" {
		if err := work(os.Stdin, os.Stdout, peers); err != nil {
			fail(err)
		}
		return
	}
	quick := flag.Bool("quick", false, "measure coarsely, within two minutes")
	only := flag.String("only", "", "the parts to measure, of "+strings.Join(partNames(), ", "))
	out := flag.String("out", "", "the directory to write data, tables and plots into")
	names := flag.String("peers", "", "the peers to measure; unless set, all, and with -quick those whose decisions are atomic")
	flag.Parse()
	if flag.NArg() > 0 {
		fail(fmt.Errorf("%q: no arguments are wanted, only flags", flag.Args()))
	}

	if err := errors.Join(known("part", split(*only), partNames()), known("peer", split(*names), peerNames())); err != nil {
		fail(err)
	}

	b := &bench{quick: *quick, peers: chosen(split(*names), *quick), out: os.Stdout, began: time.Now()}
	wanted := parts
	if *only != "" {
		wanted = slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return !slices.Contains(split(*only), p.name) })
	}
	for _, p := range wanted {
		b.expected += p.takes(b)
	}
	for _, p := range wanted {
		b.due += p.takes(b)
		if err := p.measure(b); err != nil {
			fail(fmt.Errorf("%s: %w", p.name, err))
		}
	}
	r := b.result()
	printGoals(b.out, r.Goals)
	fmt.Fprintf(b.out, "\n%v\n", r.Machine)
	for name, why := range r.Missing {
		fmt.Fprintf(b.out, "not measured: %s, since %s\n", name, why)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(b.out, n)
	}
	if *out != "" {
		if err := r.write(*out); err != nil {
			fail(err)
		}
	}
}

// takes is about how long the part takes; fewer peers take less.
func (p part) takes(b *bench) time.Duration {
	all, share := p.full, float64(len(b.peers))/float64(len(peers))
	if b.quick {
		all, share = p.quick, 1
	}
	return time.Duration(share * float64(all))
}

func partNames() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

func peerNames() []string {
	var names []string
	for _, p := range peers {
		names = append(names, p.name)
	}
	return names
}

// known is an error that names the first of the names that there is not.
func known(what string, names, all []string) error {
	for _, name := range names {
		if !slices.Contains(all, name) {
			return fmt.Errorf("no %s %q: use some of %s", what, name, strings.Join(all, ", "))
		}
	}
	return nil
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "benchmarks:", err)
	os.Exit(1)
}
