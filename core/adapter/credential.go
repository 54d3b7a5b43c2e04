package adapter

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/identity"
)

// ByBearer counts by the digest of a bearer token (RFC 6750).
func (f Framework[C]) ByBearer() Key[C] {
	return byCredential[C]("bearer", func(credential string) (string, bool) {
		return canonicalToken(credential), !strings.ContainsAny(credential, " \t")
	})
}

// ByBasicUser counts by the digest of the user of HTTP Basic (RFC 7617).
func (f Framework[C]) ByBasicUser() Key[C] { return byCredential[C]("basic", basicUser) }

// byCredential counts by the digest of the credential of a scheme, as read returns it. A
// request with a credential of another scheme has no key. A request with an ambiguous
// field is rejected, since other servers may read it in another way.
func byCredential[C any](scheme string, read func(credential string) (value string, ok bool)) Key[C] {
	return Key[C]{func(id *identity.Identity) func(C, Exchange) (string, error) {
		return func(_ C, x Exchange) (string, error) {
			fields := x.HeaderValues("Authorization")
			if len(fields) > 1 {
				return "", malformed("more than one Authorization field")
			}
			given, credential := cutScheme(First(fields))
			if !strings.EqualFold(given, scheme) {
				return "", core.ErrNoKey
			}
			value, ok := read(credential)
			if !ok {
				return "", malformed("the Authorization field is malformed")
			}
			return id.Digest(scheme, value)
		}
	}}
}

func malformed(detail string) error { return core.Refuse(http.StatusBadRequest, detail) }

// cutScheme splits the value of an Authorization field. Servers differ in the white space
// that they accept, so no white space is part of the credential.
func cutScheme(field string) (scheme, credential string) {
	field = strings.Trim(field, " \t")
	if i := strings.IndexAny(field, " \t"); i >= 0 {
		return field[:i], strings.TrimLeft(field[i:], " \t")
	}
	return field, ""
}

// canonicalToken returns the one spelling of a token. A token is an opaque text,
// except for a JSON Web Token. The last character of each of its parts has up to
// four bits that most verifiers do not look at, and may have padding after it.
func canonicalToken(token string) string {
	parts := strings.Split(token, ".")
	if !strings.HasPrefix(token, "eyJ") || len(parts) != 3 && len(parts) != 5 {
		return token
	}
	for i, part := range parts {
		value, err := decodeBase64(part)
		if err != nil {
			return token
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(value)
	}
	return strings.Join(parts, ".")
}

// basicUser returns the user in a credential.
func basicUser(credential string) (string, bool) {
	pair, err := decodeBase64(credential)
	if err != nil {
		return "", false
	}
	user, _, ok := strings.Cut(string(pair), ":")
	return user, ok
}

// decodeBase64 decodes every spelling that some server accepts: either alphabet, with or
// without padding, and any value of the unused bits at the end.
func decodeBase64(text string) ([]byte, error) {
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	return base64.RawStdEncoding.DecodeString(text)
}
