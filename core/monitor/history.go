package monitor

import "net/http"

// series are the counts of a policy, one for each step.
type series struct {
	Allowed      []int64 `json:"allowed"`
	Denied       []int64 `json:"denied"`
	ShadowDenied []int64 `json:"shadowDenied"`
	Overloaded   []int64 `json:"overloaded"`
	Error        []int64 `json:"error"`
	Alone        []int64 `json:"alone"` // of these, the decisions without the store
}

func newSeries(n int) *series {
	return &series{make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)}
}

func (s *series) set(i int, t *tally) {
	c := t.counts()
	s.Allowed[i], s.Denied[i], s.ShadowDenied[i], s.Overloaded[i], s.Error[i] = c.Allowed, c.Denied, c.ShadowDenied, c.Overloaded, c.Error
	s.Alone[i] = c.By.Fallback + c.By.Open
}

func (h *Handler) history(w http.ResponseWriter, r *http.Request) {
	p := h.recorder.picture
	from := &p.fine
	switch r.FormValue("minutes") {
	case "5":
	case "60":
		from = &p.coarse
	default:
		refuse(w, http.StatusBadRequest, "minutes is 5 or 60")
		return
	}
	now := h.now(r.Context()).Now
	p.mu.Lock()
	defer p.mu.Unlock()
	answer(w, from.history(now))
}

// past is the answer of api/history.
type past struct {
	From     int64              `json:"from"`
	Step     int64              `json:"step"`
	Policies map[string]*series `json:"policies"`
}

// history returns the counts up to a time, without the current second.
func (r *ring) history(now int64) past {
	n := int64(len(r.slots))
	last := (now - second1) / r.step
	a := past{From: (last - n + 1) * r.step, Step: r.step, Policies: make(map[string]*series)}
	for i := range n {
		for name, t := range r.at(a.From + i*r.step) {
			s := a.Policies[name]
			if s == nil {
				s = newSeries(int(n))
				a.Policies[name] = s
			}
			s.set(int(i), t)
		}
	}
	return a
}
