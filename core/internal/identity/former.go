package identity

import (
	"encoding/hex"
	"strings"
	"sync"
)

// mostFormers is the number of digests that a generation of formers holds. Two
// generations take up to 20 MB.
const mostFormers = 1 << 17

// formers finds, for a digest under the secret, the one of the same value under the
// former secret. It holds at least the last mostFormers digests that were made: a key is
// used soon after it was made, and the digests of most services fit as a whole.
type formers struct {
	hasher hasher // under the former secret

	mu           sync.RWMutex
	newer, older map[digest]digest
}

func newFormers(secret []byte) *formers {
	return &formers{hasher: newHasher(secret), newer: make(map[digest]digest)}
}

// note notes the former digest of a value.
func (f *formers) note(d digest, value string) {
	f.mu.RLock()
	_, known := f.newer[d]
	f.mu.RUnlock()
	if !known {
		sum := f.hasher.sum(value)
		f.add(d, digest(sum[:DigestBytes]))
	}
}

func (f *formers) add(d, former digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.newer) >= mostFormers {
		f.newer, f.older = make(map[digest]digest), f.newer
	}
	f.newer[d] = former
}

func (f *formers) of(d digest) (former digest, ok bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if former, ok = f.newer[d]; !ok {
		former, ok = f.older[d]
	}
	return former, ok
}

// Rotates reports whether there is a former secret.
func (id *Identity) Rotates() bool { return id.former != nil }

// Former returns the key that a client has under the former secret: key with other
// digests, also inside of a joined key. It returns "" without a former secret, and for a
// key without a digest that was made lately.
func (id *Identity) Former(key string) string {
	if id.former == nil {
		return ""
	}
	var former []byte
	for rest := 0; ; {
		at := strings.IndexByte(key[rest:], '=')
		if at < 0 {
			return string(former)
		}
		rest += at + 1
		d, ok := digestAt(key[rest:])
		if !ok {
			continue
		}
		if d, ok = id.former.of(d); !ok {
			continue
		}
		if former == nil {
			former = []byte(key)
		}
		hex.Encode(former[rest:], d[:])
	}
}

// Link notes that a key such as "sha256=<digest>" replaces a longer one, and former that
// one's former key. It does nothing if former is "".
func (id *Identity) Link(key, former string) {
	if id.former == nil || former == "" {
		return
	}
	_, key, _ = strings.Cut(key, "=")
	_, former, _ = strings.Cut(former, "=")
	if d, ok := digestAt(key); ok {
		if f, ok := digestAt(former); ok {
			id.former.add(d, f)
		}
	}
}

// digestAt returns the digest that a text begins with.
func digestAt(text string) (d digest, ok bool) {
	if len(text) < hex.EncodedLen(len(d)) {
		return d, false
	}
	text = text[:hex.EncodedLen(len(d))]
	if strings.Trim(text, "0123456789abcdef") != "" { // such as upper case
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(text))
	return d, err == nil
}
