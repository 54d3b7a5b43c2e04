package core

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/streamlimit/streamlimit/core/internal/memory"
	"github.com/streamlimit/streamlimit/core/store"
)

// localStore is the memory that decides when the store does not answer, made
// when it is first needed. It never waits, so it decides for a caller whose
// deadline is over as well.
type localStore struct {
	share float64 // of each limit that this process has then, above 0 and at most 1

	once  sync.Once
	store *memory.Store // nil after close, if it was never needed

	shares sync.Map // of *Policy, by the policy that it is the share of
	known  atomic.Int64
}

func (s *localStore) get() (*memory.Store, error) {
	s.once.Do(func() { s.store = memory.New(defaultMaxKeys, nil) })
	if s.store == nil {
		return nil, store.ErrClosed
	}
	return s.store, nil
}

func (s *localStore) close() {
	s.once.Do(func() {})
	if s.store != nil {
		_ = s.store.Close()
	}
}

// take asks the memory those of the questions whose places are given, and puts
// what it answers there. The questions become what it was asked.
func (s *localStore) take(asks []Charge, places []int, usages []store.Usage) (Store, error) {
	local, err := s.get()
	if err != nil {
		return nil, policyError(asks[places[0]].Policy, err)
	}
	for _, place := range places {
		asks[place] = s.shared(asks[place])
	}
	return takeFrom(local, asks, places, usages)
}

// takeFrom does what take does, for charges that already have this process's share.
func takeFrom(local Store, asks []Charge, places []int, usages []store.Usage) (Store, error) {
	asked := make([]store.Charge, len(places))
	for i, place := range places {
		asked[i] = asks[place].onLog()
	}
	decided, err := local.TakeAll(context.Background(), asked)
	if errors.Is(err, store.ErrFull) {
		// Shadow policies get no decision then. The other policies are decided
		// without them.
		var enforced []int
		for _, place := range places {
			if asks[place].Policy.shadow {
				usages[place] = unknown()
			} else {
				enforced = append(enforced, place)
			}
		}
		switch len(enforced) {
		case len(places):
		case 0:
			return nil, nil //nolint:nilnil // no store has taken anything
		default:
			return takeFrom(local, asks, enforced, usages)
		}
	}
	if err != nil {
		return nil, policyError(asks[places[0]].Policy, err)
	}
	for i, u := range decided {
		u.Source = SourceFallback
		usages[places[i]] = u
	}
	return local, nil
}

// peek asks the memory, of which the question becomes one.
func (s *localStore) peek(a *Charge) (store.Usage, error) {
	local, err := s.get()
	if err != nil {
		return store.Usage{}, err
	}
	*a = s.shared(*a)
	u, err := local.Peek(context.Background(), a.Policy.log, a.Key, a.Cost)
	u.Source = SourceFallback
	return u, err
}

// shared is a question under this process's share of the limits. A cost above
// it takes all of it.
func (s *localStore) shared(a Charge) Charge {
	if s.share == 1 {
		return a
	}
	a.Policy = s.shareOf(a.Policy)
	for _, l := range a.Policy.limits {
		a.Cost = min(a.Cost, l.Max)
	}
	return a
}

// shareOf is a policy with this process's share of its limits, at least 1 unit
// of each.
func (s *localStore) shareOf(p *Policy) *Policy {
	if known, ok := s.shares.Load(p); ok {
		return known.(*Policy)
	}
	limits := make([]Limit, len(p.limits))
	for i, l := range p.limits {
		limits[i] = l
		limits[i].Max = max(1, int64(float64(l.Max)*s.share))
	}
	share, err := p.With(limitOptions(limits)...)
	if err != nil {
		share = p // no policy of ours: what fits has fewer units only
	} else {
		share = share.after(p.log.Earlier)
	}
	if s.known.Load() < maxKnown {
		known, loaded := s.shares.LoadOrStore(p, share)
		if !loaded {
			s.known.Add(1)
		}
		share = known.(*Policy)
	}
	return share
}
