package adapter

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/identity"
)

// Key sets what a request is counted by. The zero Key is not valid.
type Key[C any] struct {
	// bind returns the function that finds the key of a request. It is called once for a
	// limiter. The limiter's identity has the trusted proxies and the hash.
	bind func(*identity.Identity) func(C, Exchange) (string, error)
}

// KeyFunc returns the function that the middleware finds keys with. Use it with a
// limiter's Peek, Used and Reset.
func (f Framework[C]) KeyFunc(limiter *core.Limiter, key Key[C]) func(C) (string, error) {
	f.must(limiter != nil, "KeyFunc", "nil limiter: give the one that New was given")
	f.mustKeys("KeyFunc", key)
	find := key.bind(limiter.Seam().Identity)
	return func(c C) (string, error) { return find(c, f.Exchange(c)) }
}

// ByAddress counts by the client's address: see "Who is counted" in package core. Without
// any address the error is [core.ErrNoKey].
func (f Framework[C]) ByAddress() Key[C] {
	return Key[C]{func(id *identity.Identity) func(C, Exchange) (string, error) {
		return func(_ C, x Exchange) (string, error) { return id.Address(x) }
	}}
}

// ByHeader counts by the digest of a header field's value.
func (f Framework[C]) ByHeader(name string) Key[C] {
	f.mustName("ByHeader", name)
	if advice := notByHeader[strings.ToLower(name)]; advice != "" {
		f.must(false, "ByHeader", fmt.Sprintf("%q %s", http.CanonicalHeaderKey(name), advice))
	}
	label := strings.ToLower(name)
	name = http.CanonicalHeaderKey(name)
	return Key[C]{func(id *identity.Identity) func(C, Exchange) (string, error) {
		return func(_ C, x Exchange) (string, error) { return id.Digest(label, x.Header(name)) }
	}}
}

// notByHeader has the fields that can't be keys, each with advice. A credential can be
// written in many ways in such a field, and each way would have a budget of its own.
var notByHeader = map[string]string{
	"host":                `is not a field in all frameworks: use ByFunc("host", ...)`,
	"authorization":       `can be written in many ways by one client: use ByBearer() or ByBasicUser(), or BySecret("user", ...) for other schemes`,
	"proxy-authorization": `can be written in many ways by one client: use BySecret("user", ...) with what your proxy reads in it`,
	"cookie":              `can be written in many ways by one client: use BySecret("session", ...) with the value of one cookie`,
}

// BySecret counts by the digest of what find returns.
func (f Framework[C]) BySecret(name string, find func(C) (string, error)) Key[C] {
	f.mustName("BySecret", name)
	f.must(find != nil, "BySecret", "nil function: give one that finds the secret")
	return Key[C]{func(id *identity.Identity) func(C, Exchange) (string, error) {
		return func(c C, _ Exchange) (string, error) {
			value, err := find(c)
			if err != nil {
				return "", f.blame(c, err)
			}
			return id.Digest(name, value)
		}
	}}
}

// ByFunc counts by what find returns, preceded by the name.
func (f Framework[C]) ByFunc(name string, find func(C) (string, error)) Key[C] {
	f.mustName("ByFunc", name)
	f.must(find != nil, "ByFunc", "nil function: give one that finds the key")
	label := name + "="
	return Key[C]{func(*identity.Identity) func(C, Exchange) (string, error) {
		return func(c C, _ Exchange) (string, error) {
			value, err := find(c)
			if err != nil {
				return "", f.blame(c, err)
			}
			if value == "" {
				return "", core.ErrNoKey
			}
			// The concatenation also copies a value that the framework reuses.
			return label + value, nil
		}
	}}
}

// ByConstant counts all requests by the name: one budget for all clients.
func (f Framework[C]) ByConstant(name string) Key[C] {
	f.mustName("ByConstant", name)
	return Key[C]{func(*identity.Identity) func(C, Exchange) (string, error) {
		return func(C, Exchange) (string, error) { return name, nil }
	}}
}

// ByAll counts by the combination of all keys.
func (f Framework[C]) ByAll(keys ...Key[C]) Key[C] {
	f.mustKeys("ByAll", keys...)
	return Key[C]{func(id *identity.Identity) func(C, Exchange) (string, error) {
		finds := bindAll(id, keys)
		return func(c C, x Exchange) (string, error) {
			parts := make([]string, len(finds))
			for i, find := range finds {
				var err error
				if parts[i], err = find(c, x); err != nil {
					return "", err
				}
			}
			return identity.Join(parts...)
		}
	}}
}

// ByFirst counts by the first key that the request has.
func (f Framework[C]) ByFirst(keys ...Key[C]) Key[C] {
	f.mustKeys("ByFirst", keys...)
	return Key[C]{func(id *identity.Identity) func(C, Exchange) (string, error) {
		finds := bindAll(id, keys)
		return func(c C, x Exchange) (key string, err error) {
			for _, find := range finds {
				if key, err = find(c, x); !errors.Is(err, core.ErrNoKey) {
					return key, err
				}
			}
			return "", err
		}
	}}
}

func bindAll[C any](id *identity.Identity, keys []Key[C]) []func(C, Exchange) (string, error) {
	finds := make([]func(C, Exchange) (string, error), len(keys))
	for i, k := range keys {
		finds[i] = k.bind(id)
	}
	return finds
}

// must panics with advice on a wrong use of a function of the adapter.
func (f Framework[C]) must(ok bool, function, advice string) {
	if !ok {
		panic(f.Name + ": " + function + ": " + advice)
	}
}

func (f Framework[C]) mustPolicy(function string, policy *core.Policy) {
	f.must(policy != nil && len(policy.Limits()) > 0, function, `nil policy: make one with core.NewPolicy("api", core.PerMinute(100))`)
}

func (f Framework[C]) mustName(function, name string) {
	f.must(name != "" && !strings.ContainsAny(name, "=: \t\r\n"), function,
		fmt.Sprintf(`%q is no name: write one such as "user" or "X-API-Key"`, name))
}

func (f Framework[C]) mustKeys(function string, keys ...Key[C]) {
	f.must(len(keys) > 0, function, "no keys: name at least one")
	for _, k := range keys {
		f.must(k.bind != nil, function, "an empty Key: use one of the By functions, such as ByAddress")
	}
}

// JoinKeys makes one key of several parts, as ByAll does. Each is preceded by its length,
// so that different parts never make the same key. An empty part is a [core.ErrNoKey].
func JoinKeys(parts ...string) (string, error) { return identity.Join(parts...) }

// AddressKey returns the key that ByAddress counts the address by with limiter. Use it to
// ban a client whose address you know.
func AddressKey(limiter *core.Limiter, addr netip.Addr) (string, error) {
	if !addr.IsValid() {
		return "", core.ErrNoKey
	}
	return limiter.Seam().Identity.AddressKey(addr), nil
}

// CredentialKey returns the key that a credential is counted by with limiter, such as
// "x-api-key=" and the digest of the API key:
//
//	key, err := adapter.CredentialKey(limiter, "x-api-key", apiKey)
//
// The name is that of the header field in lower case for ByHeader, "bearer" or "basic"
// for ByBearer and ByBasicUser, and the one given to BySecret. A name that no policy
// counts by makes a key that no request has. An empty value is a [core.ErrNoKey].
func CredentialKey(limiter *core.Limiter, name, value string) (string, error) {
	return limiter.Seam().Identity.Digest(name, value)
}
