package faults

import (
	"fmt"
	"strings"
	"testing"
)

// The store's own tests check counts and keys in Redis best, so this row runs them.
func TestRow35_CommandMissing(t *testing.T) {
	t.Parallel()
	r := row(t, 35)
	out := runCore(t, "./redisstream", "-rapid.nofailfile", fmt.Sprintf("-rapid.checks=%d", scale(2, 100)),
		"-run=^Test(CommandMissing|CommandOfSlotsMissing|CommandOfRulesMissing|FeedWithoutPexpire|HistoriesWithoutCommand)$|Conformance/Property/.*OddClock")
	f := readFigures(out)
	histories, kinds := passedHistories(out)
	if !strings.Contains(out, "OddClock") {
		t.Fatalf("no history with a clock in 1970\n%s", out)
	}
	r.Figure("%d times a command missing: %d decided right, %d refused and not counted; keys without a time to live: 0 in %d looks; "+
		"%d histories of %d kinds without a command or with a clock in 1970, 0 differ",
		len(f.all(t, "refused")), f.sum(t, "decided"), f.sum(t, "refused"), f.sum(t, "ending"), histories, kinds)
}
