package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// workerVariable makes this program a worker, which attacks limits with others.
const workerVariable = "STREAMLIMIT_BENCHMARKS_WORKER"

// job is what a worker reads from its standard input. It says that it is ready,
// is then told when to start, and says what it found.
type job struct {
	Addr   string
	Peers  []string
	Key    string
	Max    int64
	Window time.Duration
	Bursts []burst
	Apart  time.Duration // between the starts of the peers
}

// found is what a worker saw of a peer.
type found struct {
	Requests []request // the admitted ones
	Errors   int
}

// work does a job.
func work(in io.Reader, out io.Writer, peers []peer) error {
	lines := json.NewDecoder(in)
	var j job
	if err := lines.Decode(&j); err != nil {
		return err
	}
	ctx := context.Background()
	asks := make([]allow, len(j.Peers))
	for i, name := range j.Peers {
		for _, p := range peers {
			if p.name != name {
				continue
			}
			l := newLink(j.Addr)
			defer l.close()
			var err error
			if asks[i], err = p.make(l, quota{j.Max, j.Window}); err != nil {
				return err
			}
			// The connections and the script are there before.
			drive(8, 8, time.Minute, func(n int) error { _, err := asks[i](ctx, fmt.Sprint(j.Key, os.Getpid(), n)); return err })
		}
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	var start time.Time
	if err := lines.Decode(&start); err != nil {
		return err
	}
	all := map[string]*found{}
	var wait sync.WaitGroup
	for i, name := range j.Peers {
		f := &found{}
		all[name] = f
		begin := start.Add(time.Duration(i) * j.Apart)
		wait.Go(func() { f.attack(asks[i], j, begin) })
	}
	wait.Wait()
	return json.NewEncoder(out).Encode(all)
}

func (f *found) attack(ask allow, j job, begin time.Time) {
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, b := range j.Bursts {
		time.Sleep(time.Until(begin.Add(b.After)))
		for range b.Callers {
			wait.Go(func() {
				sent := time.Now().UnixMicro()
				ok, err := ask(context.Background(), j.Key)
				received := time.Now().UnixMicro() + 1
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					f.Errors++
				case ok:
					f.Requests = append(f.Requests, request{sent, received})
				}
			})
		}
	}
	wait.Wait()
}

// attack lets workers attack the peers, one after the other.
func attack(addr string, peers []peer, sc scenario, key string) (map[string]*found, error) {
	j := job{Addr: addr, Key: key, Max: sc.quota.max, Window: sc.quota.window, Bursts: sc.bursts}
	for _, p := range peers {
		j.Peers = append(j.Peers, p.name)
	}
	// A first request alone leaves time for other peers' bursts.
	j.Apart = 400*time.Millisecond + sc.bursts[len(sc.bursts)-1].After
	if len(sc.bursts) > 1 && sc.bursts[1].After > time.Second {
		j.Apart -= sc.bursts[1].After
	}
	var workers []*worker
	defer func() {
		for _, w := range workers {
			w.end()
		}
	}()
	for range processes {
		w, err := startWorker(j)
		if err != nil {
			return nil, err
		}
		workers = append(workers, w)
	}
	for _, w := range workers {
		if line, err := w.out.ReadString('\n'); err != nil || line != "ready\n" {
			return nil, fmt.Errorf("a worker is not ready: %q, %w", line, err)
		}
	}
	// Windows that follow the clock begin with the attack.
	start := time.Now().Add(sc.quota.window/2 + 100*time.Millisecond).Truncate(sc.quota.window).Add(sc.quota.window)
	if sc.quota.window > 2*time.Second {
		start = time.Now().Add(100 * time.Millisecond)
	}
	for _, w := range workers {
		if err := json.NewEncoder(w.in).Encode(start); err != nil {
			return nil, err
		}
	}
	all := map[string]*found{}
	for _, p := range peers {
		all[p.name] = &found{}
	}
	for _, w := range workers {
		var part map[string]*found
		if err := json.NewDecoder(w.out).Decode(&part); err != nil {
			return nil, fmt.Errorf("a worker's report: %w", err)
		}
		for name, f := range part {
			all[name].Requests = append(all[name].Requests, f.Requests...)
			all[name].Errors += f.Errors
		}
	}
	return all, nil
}

// worker is this program once more.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startWorker(j job) (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), workerVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &worker{cmd, in, bufio.NewReader(out)}
	return w, json.NewEncoder(in).Encode(j)
}

func (w *worker) end() {
	_ = w.in.Close()
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}
