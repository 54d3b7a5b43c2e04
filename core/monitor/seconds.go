package monitor

import "time"

// Seconds returns the counts of each policy in n seconds, 300 at most, oldest first.
// The last second is the one that ended at least a second before now, since processes
// publish a second when it is over. Seconds uses what the last Read has read.
func (r *Reader) Seconds(now time.Time, n int) map[string][]Counts {
	return r.picture.seconds(&r.picture.fine, now, n)
}

// Requests returns the counts of requests in the same seconds as Seconds. It returns
// nil if there was no request.
func (r *Reader) Requests(now time.Time, n int) []Counts {
	return r.picture.seconds(&r.picture.requests, now, n)[onlyName]
}

func (p *picture) seconds(of *ring, now time.Time, n int) map[string][]Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = min(n, len(of.slots))
	begin := now.UnixMilli() - int64(n+1)*second1
	all := make(map[string][]Counts)
	for i := range n {
		for name, t := range of.at(begin + int64(i)*second1) {
			if all[name] == nil {
				all[name] = make([]Counts, n)
			}
			all[name][i] = t.counts()
		}
	}
	return all
}
