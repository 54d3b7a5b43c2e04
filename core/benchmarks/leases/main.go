// Leases simulates the load of many processes with leases on a Redis server:
//
//	go run ./core/benchmarks/leases -out core/benchmarks/leases   # ten minutes
//
// It runs the code of package lease, under simulated time and with a simple log in place
// of the server's.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

const (
	window  = 4 * time.Second
	longest = window / 16      // lease of a policy with this window
	perPod  = 200              // requests a second of a process
	trip    = time.Millisecond // to the server and back

	// The server's time for a script, in µs: see the package documentation of redisstream.
	countedMicros = 11
	leaseMicros   = 28
	returnMicros  = 25
)

// setup describes one simulation.
type setup struct {
	processes, keys int
	zipf            bool
	plenty          bool          // the limit is never reached
	length          time.Duration // of a lease; 0 for none
}

func (s setup) keysText() string {
	switch {
	case s.plenty:
		return "1, never full"
	case s.keys == 1:
		return "1, full"
	case s.zipf:
		return fmt.Sprintf("%d, Zipf", s.keys)
	}
	return fmt.Sprintf("%d, uniform", s.keys)
}

func main() {
	out := flag.String("out", "", "the directory to write README.md into")
	quick := flag.Bool("quick", false, "leave out 2,000 processes")
	flag.Parse()
	var setups []setup
	for _, processes := range []int{10, 100, 500, 2000} {
		if *quick && processes == 2000 {
			continue
		}
		for _, keys := range []setup{{keys: 1, plenty: true}, {keys: 1}, {keys: 1000, zipf: true}, {keys: 100_000, zipf: true}, {keys: 100_000}} {
			if processes == 2000 && keys.keys == 100_000 && !keys.zipf {
				continue // takes too long, and has the ratios of 500 processes
			}
			for _, d := range []time.Duration{0, 10 * time.Millisecond, 100 * time.Millisecond, longest, window / 4} {
				setups = append(setups, setup{processes, keys.keys, keys.zipf, keys.plenty, d})
			}
		}
	}
	figures := make([]figures, len(setups))
	next := make(chan int, len(setups))
	for i := range setups {
		next <- i
	}
	close(next)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				figures[i] = newSimulation(setups[i]).run()
				fmt.Fprintf(os.Stderr, "%+v %+v\n", setups[i], figures[i])
			}
		})
	}
	workers.Wait()
	var page bytes.Buffer
	write(&page, setups, figures)
	if *out == "" {
		fmt.Print(page.String())
		return
	}
	if err := os.WriteFile(filepath.Join(*out, "README.md"), page.Bytes(), 0o644); err != nil { //nolint:gosec // everyone may read it
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
