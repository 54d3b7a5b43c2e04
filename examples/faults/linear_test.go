package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/core/redistest"
)

// question and answer are the input and output of a call to a store. The window is longer
// than any history, so a log acts as a counter up to the limit.
type question struct {
	cost int64
	take bool // else a peek
}

type answer struct {
	known   bool // else there was an error: the units may have been taken, then or later
	allowed bool
	used    int64 // what the log holds, as the store has it
}

// counter is the model of a log for concurrent callers.
func counter(limit int64) porcupine.Model {
	return (&porcupine.NondeterministicModel{
		Init: func() []any { return []any{int64(0)} },
		Step: func(state, input, output any) []any {
			used, q, a := state.(int64), input.(question), output.(answer)
			fits := used+q.cost <= limit
			after := used
			if fits && q.take {
				after += q.cost
			}
			switch {
			case !a.known && after != used:
				return []any{used, after}
			case !a.known, a.allowed == fits && a.used == after:
				return []any{after}
			}
			return nil
		},
	}).ToModel()
}

// trouble is a fault during a history. It must end by itself.
type trouble func(server *redistest.Server, proxy *redistest.Proxy)

var troubles = map[string]trouble{
	"none": func(*redistest.Server, *redistest.Proxy) {},
	"replies lost": func(_ *redistest.Server, proxy *redistest.Proxy) {
		proxy.Rule(func(words []string) redistest.Fate {
			if rand.IntN(4) == 0 {
				return redistest.Scripts(redistest.CutReply(0))(words)
			}
			return redistest.Fate{}
		})
		time.Sleep(30 * time.Millisecond)
		proxy.Rule(nil)
	},
	"connections cut": func(_ *redistest.Server, proxy *redistest.Proxy) {
		proxy.Down()
		time.Sleep(5 * time.Millisecond)
		proxy.Up()
	},
	"frozen": func(server *redistest.Server, _ *redistest.Proxy) {
		server.Freeze()
		time.Sleep(60 * time.Millisecond)
		server.Thaw()
	},
	"killed": func(server *redistest.Server, _ *redistest.Proxy) { server.Restart() },
	"scripts flushed": func(server *redistest.Server, _ *redistest.Proxy) {
		for range 20 {
			server.Client().ScriptFlush(context.Background())
			time.Sleep(time.Millisecond)
		}
	},
}

const (
	linearLimit   = 8
	linearKeys    = 8
	linearCallers = 6
)

// Concurrent callers use several processes' stores on several keys during a fault of the
// server. The history of each key must be that of a counter. The server writes all data
// to a file before it responds, so a kill loses nothing.
func TestRow03_Linearizable(t *testing.T) {
	r := row(t, 3)
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	proxy := redistest.NewProxy(t, server.Addr)
	var stores []*redisstream.Store
	for range 2 {
		o := server.Options()
		o.Addr, o.PoolSize, o.MaxRetries = proxy.Addr, linearCallers, 3
		rdb := redis.NewClient(o)
		t.Cleanup(func() { rdb.Close() })
		stores = append(stores, redisstream.New(rdb, redisstream.WithTimeout(25*time.Millisecond)))
	}
	histories, unknown, denied := 0, 0, 0
	for round := range scale(2, 20) {
		for name, trouble := range troubles {
			for _, p := range layouts("history", core.Per(linearLimit, time.Hour)) {
				prefix := fmt.Sprint(name, round, "-")
				done := make(chan struct{})
				go func() {
					defer close(done)
					trouble(server, proxy)
				}()
				for key, history := range observe(t, stores, p, prefix, done) {
					histories++
					for _, o := range history {
						a := o.Output.(answer)
						if !a.known {
							unknown++
						} else if !a.allowed {
							denied++
						}
					}
					if result := porcupine.CheckOperationsTimeout(counter(linearLimit), history, time.Minute); result != porcupine.Ok {
						t.Errorf("%s, %s, key %s: %s\n%s", name, p, key, result, describe(history))
					}
				}
			}
		}
	}
	if unknown == 0 || denied == 0 {
		t.Errorf("%d unknown outcomes, %d denials: want some of each", unknown, denied)
	}
	r.Figure("%d histories legal, %d outcomes unknown, %d denials", histories, unknown, denied)
}

// observe runs callers until shortly after the fault, and returns the history of each
// key.
func observe(t *testing.T, stores []*redisstream.Store, p *core.Policy, prefix string, ended <-chan struct{}) map[string][]porcupine.Operation {
	t.Helper()
	var (
		mu      sync.Mutex
		group   sync.WaitGroup
		seen    = make(map[string][]porcupine.Operation)
		start   = time.Now()
		forever = time.Hour.Nanoseconds()
	)
	for caller := range linearCallers {
		group.Go(func() {
			left := 12 // calls, after trouble
			for left > 0 {
				select {
				case <-ended:
					left--
				default:
				}
				key, q := prefix+fmt.Sprint(rand.IntN(linearKeys)), question{cost: 1, take: rand.IntN(4) > 0}
				if p.Log().VariableCost {
					q.cost = rand.Int64N(3) + 1
				}
				method := stores[caller%len(stores)].Peek
				if q.take {
					method = stores[caller%len(stores)].Take
				}
				o := porcupine.Operation{ClientId: caller, Input: q, Call: time.Since(start).Nanoseconds()}
				u, err := method(context.Background(), p.Log(), key, q.cost)
				o.Return = time.Since(start).Nanoseconds()
				o.Output = answer{known: err == nil, allowed: u.Allowed, used: u.Limits[0].Used}
				if err != nil {
					o.Return = forever // it may be carried out whenever the server goes on
					time.Sleep(5 * time.Millisecond)
				}
				if err == nil || q.take {
					mu.Lock()
					seen[key] = append(seen[key], o)
					mu.Unlock()
				}
				time.Sleep(rand.N(2 * time.Millisecond))
			}
		})
	}
	group.Wait()
	return seen
}

func describe(history []porcupine.Operation) (text string) {
	for _, o := range history {
		text += fmt.Sprintf("%9d to %9d us: %+v: %+v\n", o.Call/1000, o.Return/1000, o.Input, o.Output)
	}
	return text
}

// The checker finds wrong histories.
func TestCounterRefusesWrongHistories(t *testing.T) {
	take := func(call, back int64, a answer) porcupine.Operation {
		return porcupine.Operation{Input: question{cost: 1, take: true}, Call: call, Return: back, Output: a}
	}
	took := func(used int64) answer { return answer{known: true, allowed: true, used: used} }
	full := answer{known: true, used: 2}
	for name, test := range map[string]struct {
		history []porcupine.Operation
		legal   bool
	}{
		"in order":        {[]porcupine.Operation{take(1, 2, took(1)), take(3, 4, took(2)), take(5, 6, full)}, true},
		"at once":         {[]porcupine.Operation{take(1, 5, took(2)), take(2, 4, took(1))}, true},
		"too many":        {[]porcupine.Operation{take(1, 2, took(1)), take(3, 4, took(2)), take(5, 6, took(3))}, false},
		"forgotten":       {[]porcupine.Operation{take(1, 2, took(1)), take(3, 4, took(1))}, false},
		"denied early":    {[]porcupine.Operation{take(1, 2, took(1)), take(3, 4, full)}, false},
		"maybe, and was":  {[]porcupine.Operation{take(1, 2, took(1)), take(3, 99, answer{}), take(5, 6, full)}, true},
		"maybe, and not":  {[]porcupine.Operation{take(1, 99, answer{}), take(3, 4, took(1)), take(5, 6, took(2))}, true},
		"counted twice":   {[]porcupine.Operation{take(1, 99, answer{}), take(3, 4, full)}, false},
		"before its call": {[]porcupine.Operation{take(1, 2, took(2)), take(3, 99, answer{})}, false},
	} {
		if legal := porcupine.CheckOperations(counter(2), test.history); legal != test.legal {
			t.Errorf("%s: legal %v, want %v", name, legal, test.legal)
		}
	}
}
