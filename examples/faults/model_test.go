package faults

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
)

var passed = regexp.MustCompile(`\[rapid\] OK, passed (\d+) tests`)

// The property tests of package storetest need clocks that only the stores' own tests
// have, so this row runs those tests.
func TestRow02_Model(t *testing.T) {
	t.Parallel()
	r := row(t, 2)
	out := runCore(t, "./internal/memory", "./redisstream", "-run=Conformance/Property|Conformance/Together/property",
		"-rapid.nofailfile", fmt.Sprintf("-rapid.checks=%d", scale(10, 300)))
	histories, kinds := passedHistories(out)
	// Memory, Redis and Cluster, with and without steps of the clock.
	if want := 3 * 15; kinds < want {
		t.Fatalf("%d properties were tested, want at least %d\n%s", kinds, want, out)
	}
	r.Figure("%d histories of %d kinds, 0 differ", histories, kinds)
}

// passedHistories returns how many histories the property tests have passed.
func passedHistories(out string) (histories, kinds int) {
	properties := passed.FindAllStringSubmatch(out, -1)
	for _, m := range properties {
		n, _ := strconv.Atoi(m[1])
		histories += n
	}
	return histories, len(properties)
}
