package core

import (
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
