package monitor

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// maxFound bounds the keys that a search finds.
const maxFound = 50

// found is the response of api/search.
type found struct {
	Keys []foundKey `json:"keys"`

	// Guesses are keys that requests of the client may be counted by, if Keys is empty:
	// an address as limiters write it, or a digest.
	Guesses []string `json:"guesses"`

	// Digest is the digest of the query, as in keys of credentials after their name. It
	// is empty if the query can't be a credential.
	Digest string `json:"digest"`
}

// search finds keys by a part of their text or of their name. With POST it also finds the
// key of a credential. The query is not stored or sent elsewhere.
func (h *Handler) search(w http.ResponseWriter, r *http.Request) {
	q, ok := queryOf(w, r)
	if !ok {
		return
	}
	now := h.now(r.Context()).Now
	part, digest := strings.ToLower(q.Text), ""
	if r.Method == http.MethodPost {
		digest = h.digestOf(q.Text)
	}
	f := found{Guesses: []string{}, Digest: digest}
	f.Keys = h.find(now, func(k foundKey) bool {
		return strings.Contains(strings.ToLower(k.Key), part) || strings.Contains(strings.ToLower(k.Name), part) ||
			digest != "" && strings.Contains(k.Key, "="+digest)
	})
	if len(f.Keys) == 0 && r.Method == http.MethodPost {
		f.Guesses = h.guesses(q.Text, digest, now)
	}
	answer(w, f)
}

// hexDigest matches a name and a digest, as in the keys of credentials.
var hexDigest = regexp.MustCompile(`([^=:,\s]+)=([0-9a-f]{32})`)

// digestOf returns the digest of a credential, which may follow its name, as in
// "x-api-key=...". It returns "" for an address in plain text, and for a text that has a
// digest.
func (h *Handler) digestOf(text string) string {
	if addr, err := netip.ParseAddr(text); err == nil && h.limiter.Seam().Identity.Hashed {
		_, digest, _ := strings.Cut(h.limiter.Seam().Identity.AddressKey(addr), "=")
		return digest
	}
	if text == "" || isNetwork(text) || hexDigest.MatchString(text) {
		return ""
	}
	if _, value, ok := strings.Cut(text, "="); ok && value != "" {
		text = value
	}
	key, err := h.limiter.Seam().Identity.Digest("x", text)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(key, "x=")
}

// counted returns the key that requests from an address are counted by, if the limiter
// hashes addresses. It returns any other key as it is, also an address that a program
// uses as a key.
func (h *Handler) counted(ctx context.Context, key string) string {
	identity := h.limiter.Seam().Identity
	if !identity.Hashed {
		return key
	}
	addr, err := netip.ParseAddr(key)
	if prefix, e := netip.ParsePrefix(key); e == nil && (prefix.IsSingleIP() || prefix.Addr().Is6() && prefix.Bits() >= identity.Bits) {
		addr, err = prefix.Addr(), nil
	}
	if err != nil {
		return key
	}
	now := h.now(ctx).Now
	if len(h.find(now, func(k foundKey) bool { return k.Key == key })) > 0 {
		return key
	}
	return identity.AddressKey(addr)
}

// guesses returns the keys that requests with the text may be counted by.
func (h *Handler) guesses(text, digest string, now int64) []string {
	if isNetwork(text) {
		if addr, err := netip.ParseAddr(text); err == nil {
			return []string{h.limiter.Seam().Identity.AddressKey(addr)}
		}
		return []string{text}
	}
	name, _, named := strings.Cut(text, "=")
	if digest == "" {
		if named {
			return []string{text} // with a digest in place of the credential
		}
		return []string{}
	}
	names := h.credentials(now)
	if !named {
		guesses := make([]string, 0, len(names))
		for _, name := range names {
			guesses = append(guesses, name+"="+digest)
		}
		return guesses
	}
	guesses := []string{name + "=" + digest}
	if !slices.Contains(names, name) { // otherwise the value is a credential
		guesses = append([]string{text}, guesses...)
	}
	return guesses
}

// credentials returns the names of digests in the keys of the last minute and of rules.
func (h *Handler) credentials(now int64) (names []string) {
	add := func(key string) {
		for _, m := range hexDigest.FindAllStringSubmatch(key, -1) {
			if !slices.Contains(names, m[1]) && m[1] != "sha256" {
				names = append(names, m[1])
			}
		}
	}
	for _, k := range h.lastMinute(now) {
		add(k.Key)
	}
	for _, r := range h.allRules() {
		add(r.Key)
	}
	slices.Sort(names)
	return names
}

// isNetwork reports whether a key is an address or a prefix.
func isNetwork(key string) bool {
	if _, err := netip.ParseAddr(key); err == nil {
		return true
	}
	_, err := netip.ParsePrefix(key)
	return err == nil
}

// find finds keys of the last minute, the most denied first.
func (h *Handler) find(now int64, is func(foundKey) bool) []foundKey {
	found := slices.DeleteFunc(h.lastMinute(now), func(k foundKey) bool { return !is(k) })
	slices.SortFunc(found, func(a, b foundKey) int {
		return cmp.Or(cmp.Compare(b.Denied, a.Denied), cmp.Compare(b.Allowed, a.Allowed), cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Key, b.Key))
	})
	return found[:min(len(found), maxFound)]
}

// lastMinute returns all keys of the last minute in this process, and the keys that other
// processes have listed.
func (h *Handler) lastMinute(now int64) []foundKey {
	allowed, allowedUnlisted := h.keysOf(now, allowedOf, topAllowed)
	denied, deniedUnlisted := h.keysOf(now, deniedOf, topDenied)
	keys := make(map[keyName]*foundKey)
	of := func(k TopKey) *foundKey {
		name := keyName{k.Policy, k.Key}
		if keys[name] == nil {
			keys[name] = &foundKey{
				Policy: k.Policy, Key: k.Key, Name: h.keyName(k.Policy, k.Key), AllowedError: allowedUnlisted, DeniedError: deniedUnlisted,
			}
		}
		return keys[name]
	}
	for _, k := range allowed {
		one := of(k)
		one.Allowed, one.AllowedError = k.Count, k.Error
	}
	for _, k := range denied {
		one := of(k)
		one.Denied, one.DeniedError = k.Count, k.Error
	}
	all := make([]foundKey, 0, len(keys))
	for _, k := range keys {
		all = append(all, *k)
	}
	return all
}

// keysOf merges the keys of all processes, with all keys of this one. It also returns the
// bound for a key that is not listed.
func (h *Handler) keysOf(now int64, of func(Top) []TopKey, which int) (keys []TopKey, unlisted int64) {
	lists := append(h.recorder.picture.lists(now, h.recorder.id, of), h.recorder.minute.list(now, which))
	for _, l := range lists {
		unlisted += l.floor
	}
	return mergeKeys(lists, len(lists)*allKeys), unlisted
}
