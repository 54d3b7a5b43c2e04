package keeper

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamlimit/streamlimit/core/internal/memory"
	"github.com/streamlimit/streamlimit/core/store"
)

// histories returns the number of histories that a test runs: SLOT_HISTORIES, or 100.
func histories(t testing.TB) int {
	text := os.Getenv("SLOT_HISTORIES")
	if text == "" {
		return 100
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("SLOT_HISTORIES: %v", err)
	}
	return n
}

// TestHistories runs random processes on a store that is far away. Requests and replies
// are late or lost, processes are cut off or crash, and the clock of the store steps back.
// At no time do the processes believe to hold more slots than the limit, and in the end
// all slots are free.
func TestHistories(t *testing.T) {
	for seed := range histories(t) {
		synctest.Test(t, func(t *testing.T) { newHistory(t, uint64(seed)).run() })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// history is a random history of one key.
type history struct {
	*testing.T
	server *memory.Store
	log    *store.Log
	most   int
	hold   time.Duration
	loss   float64       // of requests, and of replies
	slow   time.Duration // bounds the time of one way
	wait   time.Duration // bounds the wait for a reply
	end    time.Time

	mu   sync.Mutex
	rand *rand.Rand
	back time.Duration      // how far the store's clock is behind
	held map[*Slot]*process // slots that requests hold
}

// process is a process with a keeper.
type process struct {
	*history
	keeper *Keeper
	ctx    context.Context // ends when the process does
	crash  context.CancelFunc
	cut    time.Time // until then nothing arrives
}

func newHistory(t *testing.T, seed uint64) *history {
	r := rand.New(rand.NewPCG(seed, 17))
	h := &history{T: t, rand: r, most: 1 + r.IntN(4), hold: time.Second * time.Duration(1+r.IntN(30)), held: make(map[*Slot]*process)}
	h.loss = []float64{0, 0.01, 0.1, 0.3}[r.IntN(4)]
	h.slow = time.Duration(2+r.IntN(int(h.hold/time.Millisecond)/4)) * time.Millisecond
	h.wait = time.Duration(2+r.IntN(int(h.hold/time.Millisecond)/2)) * time.Millisecond
	h.log = &store.Log{
		Name: "p:i", Policy: "p", Layout: store.Slots, Longest: h.hold,
		Limits: []store.Limit{{Max: int64(h.most), Window: h.hold}},
	}
	h.server = memory.New(1000, func() time.Time {
		h.mu.Lock()
		defer h.mu.Unlock()
		return time.Now().Add(-h.back)
	})
	return h
}

// run runs the history, and checks that all slots are free afterwards.
func (h *history) run() {
	defer h.server.Close()
	h.end = time.Now().Add(8 * h.hold)
	var all sync.WaitGroup
	for range 1 + h.n(3) {
		all.Go(func() {
			for time.Now().Before(h.end) { // a crashed process is followed by another
				h.live()
			}
		})
	}
	all.Go(func() {
		for time.Now().Before(h.end) {
			h.sleep(5 * h.hold)
			step := h.ms(h.hold)
			h.mu.Lock()
			h.back += step
			h.mu.Unlock()
		}
	})
	all.Wait()
	h.mu.Lock()
	left := h.back
	h.mu.Unlock()
	time.Sleep(left + 3*h.hold)
	if u, err := h.server.Peek(h.Context(), h.log, "k", 1); err != nil || u.Limits[0].Used != 0 {
		h.Errorf("%+v, %v: want no slot in use", u, err)
	}
}

// n returns a random number below a bound, and ms a random time.
func (h *history) n(bound int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rand.IntN(bound)
}

func (h *history) ms(bound time.Duration) time.Duration {
	return time.Duration(1+h.n(int(bound/time.Millisecond))) * time.Millisecond
}

func (h *history) sleep(bound time.Duration) { time.Sleep(h.ms(bound)) }

// live is the life of a process.
func (h *history) live() {
	p := &process{history: h}
	p.ctx, p.crash = context.WithCancel(h.Context())
	var running sync.WaitGroup
	p.keeper = New(func(task func(context.Context)) bool {
		running.Go(func() { task(p.ctx) })
		return true
	}, func(string, error) {})
	for range 1 + h.n(5) {
		running.Go(p.work)
	}
	running.Go(func() {
		for p.ctx.Err() == nil && time.Now().Before(h.end) {
			h.sleep(4 * h.hold)
			switch h.n(4) {
			case 0:
				p.crash()
			case 1:
				until := h.ms(2 * h.hold)
				h.mu.Lock()
				p.cut = time.Now().Add(until)
				h.mu.Unlock()
			}
		}
	})
	running.Wait()
}

// work holds slots for random times.
func (p *process) work() {
	for p.ctx.Err() == nil && time.Now().Before(p.end) {
		s := p.keeper.NewSlot()
		c := store.Charge{Log: p.log, Key: "k", Cost: 1, Token: s.Token()}
		var usages []store.Usage
		if err := p.call(p.ctx, func() { usages, _ = p.server.TakeAll(context.Background(), []store.Charge{c}) }); err != nil {
			p.keeper.Drop(p, c)
			p.sleep(p.hold / 8)
			continue
		}
		if !usages[0].Allowed {
			p.sleep(p.hold / 4)
			continue
		}
		s.Hold(p, c)
		p.count(s)
		select {
		case <-s.Lost():
		case <-time.After(p.ms(3 * p.hold)):
		}
		p.mu.Lock()
		delete(p.held, s)
		p.mu.Unlock()
		s.Release()
		p.sleep(p.hold / 8)
	}
}

// count adds a slot that a request holds, and counts those that are not lost.
func (p *process) count(s *Slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[s] = p
	n := 0
	for s, by := range p.held {
		if by.ctx.Err() == nil && !isLost(s) {
			n++
		}
	}
	if n > p.most {
		p.Errorf("%d slots are held, the limit is %d", n, p.most)
	}
}

// call sends a request, which runs on the store in its time, or never. Without a reply in
// time it returns an error.
func (p *process) call(ctx context.Context, request func()) error {
	there, back := p.ms(p.slow), p.ms(p.slow)
	p.mu.Lock()
	lost, unanswered := p.rand.Float64() < p.loss, p.rand.Float64() < p.loss
	p.mu.Unlock()
	replied := make(chan struct{})
	go func() {
		time.Sleep(there)
		if lost || p.isCut() {
			return
		}
		request()
		time.Sleep(back)
		if !unanswered && !p.isCut() {
			close(replied)
		}
	}()
	late := time.NewTimer(p.wait)
	defer late.Stop()
	select {
	case <-replied:
		return nil
	case <-late.C:
		return errReply
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *process) isCut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.cut)
}

// RenewSlots and ReleaseSlots make the process the keeper's way to the store.
func (p *process) RenewSlots(ctx context.Context, slots []store.Charge) []error {
	return p.each(ctx, slots, p.server.RenewSlots)
}

func (p *process) ReleaseSlots(ctx context.Context, slots []store.Charge) []error {
	return p.each(ctx, slots, p.server.ReleaseSlots)
}

func (p *process) each(ctx context.Context, slots []store.Charge, call func(context.Context, []store.Charge) []error) (errs []error) {
	done := make([]error, len(slots))
	err := p.call(ctx, func() { copy(done, call(context.Background(), slots)) })
	if err == nil {
		return done
	}
	for range slots {
		errs = append(errs, fmt.Errorf("call: %w", err))
	}
	return errs
}
