package main

import (
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
	{"cpu", 25 * time.Second, 90 * time.Second, measureCPU},
}

func main() {
	quick := flag.Bool("quick", false, "measure coarsely, within two minutes")
	only := flag.String("only", "", "the parts to measure, of "+strings.Join(partNames(), ", "))
	names := flag.String("peers", "", "the peers to measure, all unless set")
	flag.Parse()
	if flag.NArg() > 0 {
		fail(fmt.Errorf("%q: no arguments are wanted, only flags", flag.Args()))
	}

	b := &bench{quick: *quick, peers: chosen(split(*names)), out: os.Stdout, began: time.Now()}
	wanted := parts
	if *only != "" {
		wanted = slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return !slices.Contains(split(*only), p.name) })
	}
	share := float64(len(b.peers)) / float64(len(peers))
	for _, p := range wanted {
		b.expected += time.Duration(share * float64(b.pick(int(p.quick), int(p.full))))
	}
	for _, p := range wanted {
		if err := p.measure(b); err != nil {
			fail(fmt.Errorf("%s: %w", p.name, err))
		}
	}
	for _, n := range b.notes {
		fmt.Fprintln(b.out, n)
	}
}

func partNames() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
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
