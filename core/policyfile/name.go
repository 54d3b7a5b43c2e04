package policyfile

import (
	"strings"

	"github.com/streamlimit/streamlimit/core"
)

// maxListed is how many names an error lists; of more it shows the nearest.
const maxListed = 12

// find is the known policy of the name, nil when every good name is new.
func (r *reader) find(p pair) (*core.Policy, error) {
	if len(r.known) == 0 {
		_, err := core.ParsePolicy(clip(p.key), []string{"1/s"}) // is the name good?
		if err != nil {
			return nil, r.at(p.line, "%v", within(err))
		}
		return nil, nil //nolint:nilnil // every good name is new
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
	return nil, r.at(p.line, "unknown policy %q: there are %s", name, strings.Join(names, ", "))
}

// nearest is the name that takes the fewest edits to get from wrong.
func nearest(wrong string, names []string) string {
	best, least := "", -1
	for _, name := range names {
		if n := edits(strings.ToLower(wrong), strings.ToLower(name)); least < 0 || n < least {
			best, least = name, n
		}
	}
	return best
}

// edits is the Levenshtein distance in bytes.
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
