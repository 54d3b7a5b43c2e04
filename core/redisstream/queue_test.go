package redisstream

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// perLog returns how many decisions on each log a batch has.
func perLog(waiters []*waiter) map[string]int {
	logs := map[string]int{}
	for _, t := range waiters {
		logs[t.charges[0].log]++
	}
	return logs
}

func waitFor(q *queue, log, place string) *waiter {
	t := waiterFor(countedLog, log, 1)
	t.place = place
	q.push(t)
	return t
}

func TestOneLogFillsABatch(t *testing.T) {
	var q queue
	for range 300 {
		waitFor(&q, "hot", "")
	}
	for round, want := range []int{maxTogether, maxTogether, 300 - 2*maxTogether, 0} {
		if n := len(q.take(uint64(round+1), nil)); n != want {
			t.Errorf("batch %d has %d, want %d", round+1, n, want)
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
	logs := perLog(q.take(1, nil))
	if logs["hot"] != maxOfOneLog || len(logs) != 11 {
		t.Errorf("the first batch has %v, want all ten cold logs and %d of the hot one", logs, maxOfOneLog)
	}
	if logs = perLog(q.take(2, nil)); logs["hot"] != maxTogether || len(logs) != 1 {
		t.Errorf("the second batch has %v, want %d of the hot log", logs, maxTogether)
	}
}

func TestABatchIsBoundedByLogs(t *testing.T) {
	var q queue
	for i := range 200 {
		waitFor(&q, fmt.Sprint(i), "")
	}
	first := q.take(1, nil)
	if len(first) != maxLogs || first[0].charges[0].log != "0" {
		t.Errorf("%d logs from %s on, want %d from the first on", len(first), first[0].charges[0].log, maxLogs)
	}
	if second := q.take(2, nil); second[0].charges[0].log != fmt.Sprint(maxLogs) {
		t.Errorf("the second batch begins with log %s, want %d", second[0].charges[0].log, maxLogs)
	}
}

func TestPlacesHaveBatchesOfTheirOwn(t *testing.T) {
	var q queue
	waitFor(&q, "a", "slot 1")
	waitFor(&q, "b", "slot 1")
	waitFor(&q, "c", "slot 2")
	waitFor(&q, "d", "slot 1")
	for round, want := range []map[string]int{{"a": 1, "b": 1}, {"c": 1}, {"d": 1}} {
		if logs := perLog(q.take(uint64(round+1), nil)); fmt.Sprint(logs) != fmt.Sprint(want) {
			t.Errorf("batch %d has %v, want %v", round+1, logs, want)
		}
	}
}

func TestAScriptOfItsOwnIsABatchAlone(t *testing.T) {
	var q queue
	waitFor(&q, "a", "")
	own := waiterFor(countedLog, "b", 1)
	own.script = together
	q.push(own)
	waitFor(&q, "b", "")
	for round, want := range []int{1, 1, 1} {
		if n := len(q.take(uint64(round+1), nil)); n != want {
			t.Errorf("batch %d has %d, want %d", round+1, n, want)
		}
	}
}

// The queue holds what was pushed and neither taken nor removed, in each log's
// order, and no batch is larger than it may be.
func TestQueueAgainstLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		want := map[string][]*waiter{}
		size, round := 0, uint64(0)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				round++
				taken := q.take(round, nil)
				if size > 0 && len(taken) == 0 || len(taken) > maxTogether || len(perLog(taken)) > maxLogs {
					t.Fatalf("a batch of %d with %d waiting", len(taken), size)
				}
				for _, waiter := range taken {
					log := waiter.charges[0].log
					if want[log][0] != waiter {
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
			case 2:
				log := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "log")
				back := waiterFor(countedLog, log, 1)
				q.putBack(back)
				want[log] = slices.Insert(want[log], 0, back)
				size++
				if q.first != back {
					t.Fatal("who was put back is not the first")
				}
			default:
				log := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "log")
				want[log] = append(want[log], waitFor(&q, log, ""))
				size++
			}
			n := 0
			for waiter := q.first; waiter != nil; waiter = waiter.links[byArrival].after {
				n++
			}
			if q.size != size || n != size || q.apart != 0 {
				t.Fatalf("size %d, %d in order of arrival, want %d", q.size, n, size)
			}
		}
	})
}
