package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// micros returns the server's time for one second of a setup, in µs.
func micros(s setup, f figures) float64 {
	if s.length == 0 {
		return f.Calls * countedMicros
	}
	return f.Calls*leaseMicros + f.Returns*returnMicros
}

// saturated returns how many processes one server can serve.
func saturated(s setup, f figures) float64 { return float64(s.processes) * 1e6 / micros(s, f) }

func write(w io.Writer, setups []setup, all []figures) {
	fmt.Fprintf(w, `# Leases: what Redis sees

%s
let each process take units of hot keys ahead of requests. This page shows the load on a Redis server then, and how many
processes saturate the server. `+"`make simulate`"+` writes this page. The simulation runs the production code of leases under
simulated time.

Each process gets %d requests a second. The window is %v. The limit of a key is ten times the mean demand of a key, and at
least 16. By Zipf's law (exponent 1.1), the busiest keys reach their limit. The limit of the full key is half of its demand.
Leases of 10 ms to a quarter of the window are simulated; a policy can have a lease of up to a sixteenth
(%v). A call takes %v. Denials are cached as in the Redis store. The server takes %d µs for a decision without
leases, %d µs for a lease and %d µs for a return.

`, "[Leases](https://pkg.go.dev/github.com/streamlimit/streamlimit/core#hdr-Leases)", perPod, window, longest, trip, countedMicros, leaseMicros, returnMicros)
	plot(w, "Script calls for 100 requests, by the length of a lease", setups, all, func(s setup, f figures) float64 {
		return 100 * (f.Calls + f.Returns) / f.Requests
	}, 100)
	plot(w, "Processes that saturate one server, in thousands", setups, all, func(s setup, f figures) float64 {
		return saturated(s, f) / 1000
	}, 100)
	var without, with, calls float64
	for i, s := range setups {
		switch f := all[i]; {
		case s.processes != 500 || !s.plenty:
		case s.length == 0:
			without = saturated(s, f)
		case s.length == longest:
			with, calls = saturated(s, f), (f.Calls+f.Returns)/float64(s.processes)
		}
	}
	fmt.Fprintf(w, `Without leases, about %.0f processes that use one key saturate one primary, if the key is never full. With leases of
%v, the longest for this window, about %.0f do: each process sends Redis %.1f calls a second, whatever the number of its
requests. A longer window allows longer leases, with fewer calls. No policy with this window can have the lease of %v; its
figures show the trend.

A limit that is always full costs more: each process checks ten times a second whether units have come free. The busiest
keys of the Zipf mixes here have such limits. Keys that a process sees less than once in a lease cost more with leases than
without.

`, without, longest, with, calls, window/4)
	fmt.Fprint(w, "## All figures\n\nThe share is the part of Max that is admitted in each Window+d, for keys whose demand is above Max. Starved is the longest\ntime in which a process got no units of the busiest key while others got some.\n\n")
	fmt.Fprintln(w, "| processes | keys | lease | requests/s | calls/s | returns/s | Redis time | share | starved |\n| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for i, s := range setups {
		f := all[i]
		share := "–"
		if !math.IsNaN(f.Share) {
			share = fmt.Sprintf("%.3f", f.Share)
		}
		fmt.Fprintf(w, "| %d | %s | %s | %.0f | %.0f | %.0f | %.1f %% | %s | %v |\n", s.processes, s.keysText(), lengthText(s.length),
			f.Requests, f.Calls, f.Returns, micros(s, f)/1e4, share, f.Starved.Round(10*time.Millisecond))
	}
}

func lengthText(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	return d.Round(time.Millisecond).String()
}

// plot draws a figure of the setups with 500 processes.
func plot(w io.Writer, title string, setups []setup, all []figures, value func(setup, figures) float64, most float64) {
	fmt.Fprintf(w, "## %s\n\nWith 500 processes:\n\n```text\n", title)
	for i, s := range setups {
		if s.processes != 500 {
			continue
		}
		if s.length == 0 {
			fmt.Fprintf(w, "%s\n", s.keysText())
		}
		n := value(s, all[i])
		fmt.Fprintf(w, "  %-6s %s %.3g\n", lengthText(s.length), strings.Repeat("█", int(math.Ceil(60*min(n, most)/most))), n)
	}
	fmt.Fprint(w, "```\n\n")
}
