package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// workers are the functions that this program runs instead of tests, by FAULTS_WORKER.
var workers = map[string]func(){"hot key": hotKeyWorker, "lease": leaseWorker, "slots": slotWorker}

const (
	hotProcesses  = 4
	hotGoroutines = 5000 // in all
)

var hotPolicies = layouts("hot", core.PerHour(1000))

func TestRow01_HotKey(t *testing.T) {
	r := row(t, 1)
	server := redistest.Start(t)
	var processes []*hotProcess
	for range hotProcesses {
		processes = append(processes, startHot(t, server.Addr, scale(1, 10)))
	}
	for _, p := range processes {
		p.read(t) // ready
	}
	tries, excess := 0, 0
	for i, policy := range hotPolicies {
		for _, p := range processes {
			fmt.Fprintln(p.in, i)
		}
		admitted, failed := 0, 0
		for _, p := range processes {
			var a, d, f int
			if _, err := fmt.Sscan(p.read(t), &a, &d, &f); err != nil {
				t.Fatal(err)
			}
			admitted, failed, tries = admitted+a, failed+f, tries+a+d+f
		}
		limit := int(policy.Limits()[0].Max)
		if admitted != limit || failed > 0 {
			t.Errorf("%s: %d admitted and %d failed, want %d and 0", policy, admitted, failed, limit)
		}
		excess += admitted - limit
	}
	if want := scale(1, 10) * hotGoroutines * len(hotPolicies); tries != want {
		t.Errorf("%d tries, want %d", tries, want)
	}
	r.Figure("excess %d in %d tries on %d layouts", excess, tries, len(hotPolicies))
}

// hotProcess is a process of this program as a worker.
type hotProcess struct {
	in  *os.File
	out *bufio.Scanner
}

func startHot(t *testing.T, addr string, times int) *hotProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FAULTS_WORKER=hot key", "FAULTS_REDIS="+addr, "FAULTS_TIMES="+strconv.Itoa(times))
	cmd.Stderr = os.Stderr
	reader, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = reader
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reader.Close()
	t.Cleanup(func() {
		in.Close() // which ends it
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &hotProcess{in: in, out: bufio.NewScanner(out)}
}

func (p *hotProcess) read(t *testing.T) string {
	t.Helper()
	if !p.out.Scan() {
		t.Fatalf("a worker has ended: %v", p.out.Err())
	}
	return p.out.Text()
}

// hotKeyWorker reads numbers of policies. For each it runs its goroutines on one key, and
// writes how many requests were admitted, denied and failed.
func hotKeyWorker() {
	ctx := context.Background()
	times, _ := strconv.Atoi(os.Getenv("FAULTS_TIMES"))
	limiter := core.New(redisstream.New(patient(&redis.Options{Addr: os.Getenv("FAULTS_REDIS")}), redisstream.WithTimeout(patience)),
		core.WithFailureMode(core.FailClosed))
	if err := limiter.Ping(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		i, _ := strconv.Atoi(in.Text())
		var admitted, denied, failed atomic.Int64
		var group sync.WaitGroup
		for range hotGoroutines / hotProcesses {
			group.Go(func() {
				for range times {
					switch d, err := limiter.Allow(ctx, hotPolicies[i], "hot"); {
					case errors.Is(err, core.ErrOverloaded):
						denied.Add(1) // the documented answer to a caller who comes too late
					case err != nil:
						failed.Add(1)
					case d.Allowed:
						admitted.Add(1)
					default:
						denied.Add(1)
					}
				}
			})
		}
		group.Wait()
		fmt.Println(admitted.Load(), denied.Load(), failed.Load())
	}
}
