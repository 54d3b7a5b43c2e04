package identity

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A joined key shows its parts, so two different lists of parts make different keys.
func FuzzJoin(f *testing.F) {
	f.Add("a:b", "c", "")
	f.Add("a", "b:c", "")
	f.Add("1:a,1:b", "", "")
	f.Add("1", ":a", ",")
	f.Add("", "a", "b")
	f.Add("\x00", "{}", "\xff")
	f.Add("2001:db8::/64", "user=x", "x-api-key=5")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		parts := []string{a, b, c}
		key, err := Join(parts...)
		if empty := slices.Contains(parts, ""); empty != (err != nil) || empty && key != "" {
			t.Fatalf("%q: %q, %v", parts, key, err)
		}
		if parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" }); len(parts) == 0 {
			return
		}
		if key, err = Join(parts...); err != nil || !slices.Equal(partsOf(key), parts) {
			t.Fatalf("%q make %q, %v, which is of %q", parts, key, err, partsOf(key))
		}
	})
}

// partsOf returns the parts of a joined key, or nil if Join does not make such a key.
func partsOf(key string) (parts []string) {
	for first := true; key != ""; first = false {
		if !first {
			var ok bool
			if key, ok = strings.CutPrefix(key, ","); !ok {
				return nil
			}
		}
		length, rest, _ := strings.Cut(key, ":")
		n, err := strconv.Atoi(length)
		if err != nil || n < 1 || n > len(rest) {
			return nil
		}
		parts, key = append(parts, rest[:n]), rest[n:]
	}
	return parts
}
