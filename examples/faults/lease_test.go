package faults

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

const (
	leasedMax    = 800
	leasedWindow = 800 * time.Millisecond
	leasedFor    = 50 * time.Millisecond
)

var leasedPolicy = core.NewPolicy("leased", core.Per(leasedMax, leasedWindow), core.Lease(leasedFor))

// leaseUses has the times at which admitted requests were sent and decided, for all
// processes.
type leaseUses struct {
	sync.Mutex
	asked, answered []int64 // Unix nanoseconds
}

// startLease starts a process that sends requests for one key, and adds its admitted
// requests to uses.
func startLease(t *testing.T, addr string, uses *leaseUses) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FAULTS_WORKER=lease", "FAULTS_REDIS="+addr)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var asked, answered int64
			if _, err := fmt.Sscan(lines.Text(), &asked, &answered); err != nil {
				continue // a killed process has not completed the line
			}
			uses.Lock()
			uses.asked, uses.answered = append(uses.asked, asked), append(uses.answered, answered)
			uses.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		reading.Wait()
		_ = cmd.Wait()
	})
	return cmd
}

// leaseWorker sends requests until it is killed, and writes the times of admitted
// requests.
func leaseWorker() {
	limiter := core.New(redisstream.New(patient(&redis.Options{Addr: os.Getenv("FAULTS_REDIS")})), core.WithFailureMode(core.FailClosed))
	for range 4 {
		go func() {
			for {
				asked := time.Now()
				d, err := limiter.Allow(context.Background(), leasedPolicy, "hot")
				if err == nil && d.Allowed {
					fmt.Printf("%d %d\n", asked.UnixNano(), time.Now().UnixNano())
				} else {
					time.Sleep(time.Millisecond)
				}
			}
		}()
	}
	select {}
}

// Processes with leases are killed, stopped for longer than a lease, and cut off from the
// server. They also lose replies. Other processes continue to run.
func TestRow38_LeaseHolders(t *testing.T) {
	r := row(t, 38)
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	lost := redistest.Scripts(redistest.LoseReply())
	proxy.Rule(func(words []string) redistest.Fate {
		if rand.IntN(20) > 0 {
			return redistest.Fate{}
		}
		return lost(words)
	})
	var uses leaseUses
	stopped, far := startLease(t, server.Addr, &uses), startLease(t, proxy.Addr, &uses)
	_ = startLease(t, server.Addr, &uses)
	rounds := scale(4, 40)
	for range rounds {
		killed := startLease(t, server.Addr, &uses)
		time.Sleep(leasedWindow / 2)
		_ = killed.Process.Kill()
		_ = stopped.Process.Signal(syscall.SIGSTOP)
		proxy.Down()
		time.Sleep(4 * leasedFor)
		_ = stopped.Process.Signal(syscall.SIGCONT)
		proxy.Up()
	}
	_ = far.Process.Kill()
	time.Sleep(2 * (leasedWindow + leasedFor)) // until lost units come free
	from := time.Now().Add(-leasedWindow - leasedFor).UnixNano()
	uses.Lock()
	defer uses.Unlock()
	slices.Sort(uses.asked)
	slices.Sort(uses.answered)
	worst := 0
	for _, at := range uses.asked {
		// Count the requests that are surely in the window that begins at this time.
		last, _ := slices.BinarySearch(uses.answered, at+int64(leasedWindow-time.Millisecond))
		first, _ := slices.BinarySearch(uses.asked, at)
		worst = max(worst, last-first)
	}
	if worst > leasedMax {
		t.Errorf("%d units in a window, the limit is %d", worst, leasedMax)
	}
	first, _ := slices.BinarySearch(uses.asked, from)
	back := len(uses.asked) - first
	if back < leasedMax*9/10 {
		t.Errorf("%d units are used in W+d after all faults, want nearly %d", back, leasedMax)
	}
	r.Figure("excess %d in %d admitted and %d faults; %.2f of the limit in the last Window+d", max(0, worst-leasedMax), len(uses.asked), 4*rounds, float64(back)/leasedMax)
}
