package redisstream

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// carried returns how many decisions on each log travel.
func carried(tickets []*ticket) map[string]int {
	logs := map[string]int{}
	for _, t := range tickets {
		logs[t.charges[0].log]++
	}
	return logs
}

func waitFor(q *queue, log, place string) *ticket {
	t := ticketFor(countedPolicy, log, 1)
	t.place = place
	q.push(t, place)
	return t
}

func TestOneLogFillsAFlight(t *testing.T) {
	var q queue
	for range 300 {
		waitFor(&q, "hot", "")
	}
	for round, want := range []int{maxTogether, maxTogether, 300 - 2*maxTogether, 0} {
		if n := len(q.take(uint64(round+1), nil)); n != want {
			t.Errorf("flight %d carries %d, want %d", round+1, n, want)
		}
	}
}

func TestAHotLogDoesNotStarveOthers(t *testing.T) {
	var q queue
	for range 1000 {
		waitFor(&q, "hot", "")
	}
	for i := range 10 {
		waitFor(&q, fmt.Sprint("cold", i), "")
	}
	logs := carried(q.take(1, nil))
	if logs["hot"] != maxOfOneLog || len(logs) != 11 {
		t.Errorf("the first flight carries %v, want all ten cold logs and %d of the hot one", logs, maxOfOneLog)
	}
	if logs = carried(q.take(2, nil)); logs["hot"] != maxTogether || len(logs) != 1 {
		t.Errorf("the second flight carries %v, want %d of the hot log", logs, maxTogether)
	}
}

func TestAFlightIsBoundedByLogs(t *testing.T) {
	var q queue
	for i := range 200 {
		waitFor(&q, fmt.Sprint(i), "")
	}
	first := q.take(1, nil)
	if len(first) != maxLogs || first[0].charges[0].log != "0" {
		t.Errorf("%d logs from %s on, want %d from the first on", len(first), first[0].charges[0].log, maxLogs)
	}
	if second := q.take(2, nil); second[0].charges[0].log != fmt.Sprint(maxLogs) {
		t.Errorf("the second flight begins with log %s, want %d", second[0].charges[0].log, maxLogs)
	}
}

func TestPlacesTravelApart(t *testing.T) {
	var q queue
	waitFor(&q, "a", "slot 1")
	waitFor(&q, "b", "slot 1")
	waitFor(&q, "c", "slot 2")
	waitFor(&q, "d", "slot 1")
	for round, want := range []map[string]int{{"a": 1, "b": 1}, {"c": 1}, {"d": 1}} {
		if logs := carried(q.take(uint64(round+1), nil)); fmt.Sprint(logs) != fmt.Sprint(want) {
			t.Errorf("flight %d carries %v, want %v", round+1, logs, want)
		}
	}
}

func TestAScriptOfItsOwnTravelsAlone(t *testing.T) {
	var q queue
	waitFor(&q, "a", "")
	own := ticketFor(countedPolicy, "b", 1)
	own.script = together
	q.push(own, "")
	waitFor(&q, "b", "")
	for round, want := range []int{1, 1, 1} {
		if n := len(q.take(uint64(round+1), nil)); n != want {
			t.Errorf("flight %d carries %d, want %d", round+1, n, want)
		}
	}
}

// The queue holds what was pushed and neither taken nor removed, in each log's
// order, and no flight is larger than it may be.
func TestQueueAgainstALists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		want := map[string][]*ticket{}
		size, round := 0, uint64(0)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				round++
				taken := q.take(round, nil)
				if size > 0 && len(taken) == 0 || len(taken) > maxTogether || len(carried(taken)) > maxLogs {
					t.Fatalf("a flight of %d with %d waiting", len(taken), size)
				}
				for _, ticket := range taken {
					log := ticket.charges[0].log
					if want[log][0] != ticket {
						t.Fatalf("log %s out of order", log)
					}
					want[log] = want[log][1:]
				}
				size -= len(taken)
			case 1:
				log := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "log")
				if n := len(want[log]); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(t, "place")
					q.remove(want[log][i])
					want[log] = slices.Delete(want[log], i, i+1)
					size--
				}
			default:
				log := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "log")
				want[log] = append(want[log], waitFor(&q, log, ""))
				size++
			}
			n := 0
			for ticket := q.first; ticket != nil; ticket = ticket.after {
				n++
			}
			if q.size != size || n != size {
				t.Fatalf("size %d, %d in order of arrival, want %d", q.size, n, size)
			}
		}
	})
}
