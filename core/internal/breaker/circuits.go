package breaker

import (
	"context"
	"log/slog"
	"sync"

	"github.com/streamlimit/streamlimit/core/internal/background"
	"github.com/streamlimit/streamlimit/core/internal/warning"
	"github.com/streamlimit/streamlimit/core/store"
)

// Options are what [New] needs.
type Options struct {
	Store  store.Store
	Logger *slog.Logger
	Mode   string            // the failure mode, for the log
	Tasks  *background.Tasks // run the probes
}

// Circuits has one circuit for each server of a store.
type Circuits struct {
	Options
	sharder  store.Sharder  // nil if all logs are in one place
	stop     func()         // ends the reports; nil if the store reports no outcomes
	failures warning.Rarely // of a store that answers
	one      *Circuit       // of the server ""
	others   sync.Map       // of *Circuit by server
}

// New returns the circuits of a store. Stop ends its reports.
func New(o Options) *Circuits {
	c := &Circuits{Options: o}
	c.sharder, _ = o.Store.(store.Sharder)
	c.one = c.newCircuit("")
	if reporter, ok := o.Store.(store.Reporter); ok {
		c.stop = reporter.Report(func(asked store.Charge, err error) { c.Of(asked).count(asked, err) })
	}
	return c
}

func (c *Circuits) newCircuit(server string) *Circuit {
	return &Circuit{all: c, server: server, refused: background.NewActivity()}
}

// Stop ends the reports of the store.
func (c *Circuits) Stop() {
	if c.stop != nil {
		c.stop()
	}
}

// Of returns the circuit of the server that has the log of a charge.
func (c *Circuits) Of(asked store.Charge) *Circuit {
	if c.sharder == nil {
		return c.one
	}
	server := c.sharder.Shard(asked.Log, asked.Key)
	if server == "" {
		return c.one
	}
	if known, ok := c.others.Load(server); ok {
		return known.(*Circuit)
	}
	known, _ := c.others.LoadOrStore(server, c.newCircuit(server))
	return known.(*Circuit)
}

// Failed logs, at most once a minute, that a store which responds has failed to decide.
// When a server stops responding, its circuit logs that.
func (c *Circuits) Failed(policy string, err error, what string) {
	c.failures.Log(context.Background(), c.Logger, slog.LevelWarn, "the store has failed to answer"+what, "policy", policy, "error", err)
}

// Down returns the servers that do not respond.
func (c *Circuits) Down() (all []Down) {
	add := func(one *Circuit) {
		if d := one.down.Load(); d != nil {
			all = append(all, *d)
		}
	}
	add(c.one)
	c.others.Range(func(_, one any) bool {
		add(one.(*Circuit))
		return true
	})
	return all
}
