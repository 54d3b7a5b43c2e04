package core

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// maxKeyLength is the longest key, in bytes, that is kept as it is. Longer ones
// are replaced by a digest, so that no request decides how much memory its
// key takes.
const maxKeyLength = 128

// hashedPrefix marks the digests of keys. Short keys that start with it are
// replaced too, so that no key can pass for the digest of another.
const hashedPrefix = "sha256="

// boundedKey is the key, or its digest when it is long or no text.
func boundedKey(key string) string {
	if len(key) <= maxKeyLength && !strings.HasPrefix(key, hashedPrefix) && utf8.ValidString(key) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hashedPrefix + hex.EncodeToString(sum[:digestBytes])
}
