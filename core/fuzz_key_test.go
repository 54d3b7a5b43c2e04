package core

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// hostileKeys are a start for whatever is given a key from outside.
var hostileKeys = []string{
	"", "a", "192.0.2.1", "\x00", "a\x00b", "{tag}", "}{", "\xff\xfe", "\u202e", "a\r\nb", hashedPrefix, boundedKey(longKey), longKey, longKey + "x",
}

var longKey = strings.Repeat("k", maxKeyLength+1)

// Keys that are bounded are short text, and no two keys are bounded to one, not
// even a key and the digest of another.
func FuzzBoundedKey(f *testing.F) {
	for _, a := range hostileKeys {
		f.Add(a, strings.Clone(a)+"x")
		f.Add(a, boundedKey(a))
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, key := range []string{a, b, strings.Repeat(a, 1+maxKeyLength/(1+len(a)))} {
			bounded := boundedKey(key)
			if len(bounded) > maxKeyLength || !utf8.ValidString(bounded) {
				t.Fatalf("%q is bounded to %q", key, bounded)
			}
			if bounded != key && !strings.HasPrefix(bounded, hashedPrefix) {
				t.Fatalf("%q is changed to %q", key, bounded)
			}
			if shown := shownKey(bounded); shown != bounded {
				t.Fatalf("%q is shown as %q, which names %q", key, bounded, shown)
			}
		}
		if (a == b) != (boundedKey(a) == boundedKey(b)) {
			t.Fatalf("%q and %q are bounded to %q and %q", a, b, boundedKey(a), boundedKey(b))
		}
	})
}

// A joined key says what it was made of, so that no two lists make the same.
func FuzzJoinKeys(f *testing.F) {
	f.Add("a:b", "c", "")
	f.Add("a", "b:c", "")
	f.Add("1:a,1:b", "", "")
	f.Add("1", ":a", ",")
	f.Add("", "a", "b")
	f.Add("\x00", "{}", "\xff")
	f.Add("2001:db8::/64", "user=x", "x-api-key=5")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		parts := []string{a, b, c}
		key, err := JoinKeys(parts...)
		if empty := slices.Contains(parts, ""); empty != (err != nil) || empty && key != "" {
			t.Fatalf("%q: %q, %v", parts, key, err)
		}
		if parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" }); len(parts) == 0 {
			return
		}
		if key, err = JoinKeys(parts...); err != nil || !slices.Equal(partsOf(key), parts) {
			t.Fatalf("%q make %q, %v, which is of %q", parts, key, err, partsOf(key))
		}
	})
}

// partsOf undoes JoinKeys; nil for what JoinKeys does not make.
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
