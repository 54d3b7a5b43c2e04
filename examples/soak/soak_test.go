package soak

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/examples/internal/program"
)

var (
	length   = flag.Duration("soak", 20*time.Second, "how long the servers are under load")
	jsonFile = flag.String("json", "", "append the figures to this `file`, as a line of JSON")
)

// The allowed growth between rests: of goroutines that a server keeps for the next
// connection, and of memory.
const (
	mostGoroutines = 12
	mostHeap       = 1 << 20
)

// exitTimeout bounds the time that a server takes to end. The server gives requests ten
// seconds.
const exitTimeout = 15 * time.Second

func TestSoak(t *testing.T) {
	redis := redistest.Start(t)
	s := site{t, redis, redistest.NewProxy(t, redis.Addr)}
	var (
		processes []*program.Process
		servers   []*watched
	)
	for _, name := range program.Servers {
		p := program.Start(t, name, "REDIS_URL=redis://"+s.proxy.Addr, "TRUSTED_PROXIES=127.0.0.0/8")
		processes, servers = append(processes, p), append(servers, watch(t, p))
	}
	l := newLoad(processes)
	start := time.Now()
	l.start()
	injected := soak(t, s, l, servers, start)
	wrong := l.failures()
	for _, w := range servers {
		w.dump = w.get(t, "goroutines")
		w.Terminate(t) // under load, which is cut off
	}
	for _, p := range processes {
		ends(t, p)
	}
	l.end()

	report := newReport(time.Since(start), l, injected, servers)
	if report.Denied == 0 || report.Answers[200] == 0 {
		t.Errorf("%d requests denied, %d answered with 200: no load to speak of", report.Denied, report.Answers[200])
	}
	if most := 20 + report.Requests/200; report.Overload > most {
		t.Errorf("%d requests refused for overload, want %d at most", report.Overload, most)
	}
	for _, what := range wrong {
		t.Error(what)
	}
	for _, w := range servers {
		w.check(t)
	}
	report.Passed = !t.Failed()
	report.print(os.Stdout)
	report.append(t, *jsonFile)
}

// soak injects faults until its time is over. After each fault it samples the idle
// servers.
func soak(t *testing.T, s site, l *load, servers []*watched, start time.Time) (injected map[string]int) {
	injected = make(map[string]int)
	time.Sleep(time.Second)
	for time.Since(start) < *length {
		for _, i := range rand.Perm(len(faults)) {
			f := faults[i]
			f.inject(s, min(*length/40, 200*time.Millisecond+rand.N(3*time.Second)))
			injected[f.name]++
			time.Sleep(min(*length/40, time.Second)) // healthy, under load
			line := fmt.Sprintf("%4.0fs  %-18s %8d requests", time.Since(start).Seconds(), f.name, l.requests.Load())
			l.rest(func() {
				for _, w := range servers {
					w.sample(t, start)
					last := w.samples[len(w.samples)-1]
					line += fmt.Sprintf("  %s %.0f goroutines %.1f MB", w.Name, last.Goroutines, last.Heap/(1<<20))
				}
			})
			fmt.Println(line)
			if time.Since(start) >= *length {
				break
			}
		}
	}
	return injected
}

// check reports whether the server has grown, raced or panicked. In a short run the
// servers are still growing to their normal size.
func (w *watched) check(t *testing.T) {
	t.Helper()
	long := *length >= 2*time.Minute
	half := w.secondHalf()
	if n := growth(half, goroutines); n > mostGoroutines && long {
		t.Errorf("%s has %.0f goroutines more at the end\n%s", w.Name, n, w.dump)
	}
	if n := half[len(half)-1].Goroutines - w.samples[0].Goroutines; n > 3*mostGoroutines {
		t.Errorf("%s has %.0f goroutines more than at the start\n%s", w.Name, n, w.dump)
	}
	if n := growth(half, heap); n > mostHeap && long {
		t.Errorf("%s has %.1f MB more at the end", w.Name, n/(1<<20))
	}
	for _, word := range []string{"DATA RACE", "panic", "PANIC"} {
		if strings.Contains(w.Log(), word) {
			t.Errorf("%s: %s\n%s", w.Name, word, w.Log())
		}
	}
}

// ends reports whether a server ends in time after SIGTERM. The test checks its exit
// code.
func ends(t *testing.T, p *program.Process) {
	t.Helper()
	select {
	case <-p.Done:
	case <-time.After(exitTimeout):
		t.Errorf("%s has not ended %v after SIGTERM\n%s", p.Name, exitTimeout, p.Log())
	}
}
