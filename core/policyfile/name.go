package policyfile

import (
	"strings"

	"github.com/streamlimit/streamlimit/core"
)

// maxListed bounds the names that an error lists. For more names it shows the nearest.
const maxListed = 12

// find returns the known policy of the name. It returns nil if all valid names are
// allowed.
func (r *reader) find(p pair) (*core.Policy, error) {
	if len(r.known) == 0 {
		_, err := core.ParsePolicy(clip(p.key), []string{"1/s"}) // is the name valid?
		if err != nil {
			return nil, r.at(p.line, "%v", within(err))
		}
		return nil, nil //nolint:nilnil // all valid names are allowed
	}
	names := make([]string, len(r.known))
	for i, k := range r.known {
		if k.Name() == p.key {
			return k, nil
		}
		names[i] = k.Name()
	}
	name := clip(p.key)
	if len(names) > maxListed {
		return nil, r.at(p.line, "unknown policy %q: the nearest of %d is %s", name, len(names), nearest(name, names))
	}
	return nil, r.at(p.line, "unknown policy %q: the policies are %s", name, strings.Join(names, ", "))
}

// nearest returns the name with the fewest edits to wrong.
func nearest(wrong string, names []string) string {
	best, least := "", -1
	for _, name := range names {
		if n := edits(strings.ToLower(wrong), strings.ToLower(name)); least < 0 || n < least {
			best, least = name, n
		}
	}
	return best
}

// edits returns the Levenshtein distance in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1) // distances of a[:i] to b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
