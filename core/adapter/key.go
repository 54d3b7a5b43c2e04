package adapter

import (
	"errors"
	"fmt"
	"strings"

	"github.com/streamlimit/streamlimit/core"
)

// Key says who a request is counted by. The zero Key is not valid.
type Key[C any] struct {
	// bind makes the function that finds the key of a request, once for a
	// limiter, whose identity says which proxies to trust and how to hash.
	bind func(*core.Identity) func(C, Exchange) (string, error)
}

// Bind is the function that the middleware finds keys with, for use with a
// limiter's Peek and Reset.
func (k Key[C]) Bind(f Framework[C], limiter *core.Limiter) func(C) (string, error) {
	find := k.bind(limiter.Identity())
	return func(c C) (string, error) { return find(c, f.Exchange(c)) }
}

// ByAddress counts by the client's address: see [core.Identity.Address].
func ByAddress[C any]() Key[C] {
	return Key[C]{func(id *core.Identity) func(C, Exchange) (string, error) {
		return func(_ C, x Exchange) (string, error) { return id.Address(x) }
	}}
}

// ByHeader counts by the digest of a header field's value.
func ByHeader[C any](name string) Key[C] {
	mustName("ByHeader", name)
	label := strings.ToLower(name)
	return Key[C]{func(id *core.Identity) func(C, Exchange) (string, error) {
		return func(_ C, x Exchange) (string, error) { return id.Digest(label, x.Header(name)) }
	}}
}

// BySecret counts by the digest of what find returns.
func BySecret[C any](name string, find func(C) (string, error)) Key[C] {
	mustName("BySecret", name)
	mustHave(find != nil, "BySecret")
	return Key[C]{func(id *core.Identity) func(C, Exchange) (string, error) {
		return func(c C, _ Exchange) (string, error) {
			value, err := find(c)
			if err != nil {
				return "", err
			}
			return id.Digest(name, value)
		}
	}}
}

// ByFunc counts by what find returns, preceded by the name.
func ByFunc[C any](name string, find func(C) (string, error)) Key[C] {
	mustName("ByFunc", name)
	mustHave(find != nil, "ByFunc")
	label := name + "="
	return Key[C]{func(*core.Identity) func(C, Exchange) (string, error) {
		return func(c C, _ Exchange) (string, error) {
			value, err := find(c)
			if err != nil {
				return "", err
			}
			if value == "" {
				return "", core.ErrNoKey
			}
			// The concatenation also copies a value that the framework reuses.
			return label + value, nil
		}
	}}
}

// ByAll counts by all keys together.
func ByAll[C any](keys ...Key[C]) Key[C] {
	mustKeys("ByAll", keys)
	return Key[C]{func(id *core.Identity) func(C, Exchange) (string, error) {
		finds := bindAll(id, keys)
		return func(c C, x Exchange) (string, error) {
			parts := make([]string, len(finds))
			for i, find := range finds {
				var err error
				if parts[i], err = find(c, x); err != nil {
					return "", err
				}
			}
			return core.JoinKeys(parts...)
		}
	}}
}

// ByFirst counts by the first key that the request has.
func ByFirst[C any](keys ...Key[C]) Key[C] {
	mustKeys("ByFirst", keys)
	return Key[C]{func(id *core.Identity) func(C, Exchange) (string, error) {
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

func bindAll[C any](id *core.Identity, keys []Key[C]) []func(C, Exchange) (string, error) {
	finds := make([]func(C, Exchange) (string, error), len(keys))
	for i, k := range keys {
		finds[i] = k.bind(id)
	}
	return finds
}

func mustName(function, name string) {
	if name == "" || strings.ContainsAny(name, "= \r\n") {
		panic(fmt.Sprintf("%s: %q is no name: write one such as \"user\" or \"X-API-Key\"", function, name))
	}
}

func mustKeys[C any](function string, keys []Key[C]) {
	if len(keys) == 0 {
		panic(function + ": no keys: name at least one")
	}
	for _, k := range keys {
		if k.bind == nil {
			panic(function + ": an empty Key: use one of the By functions, such as ByHeader")
		}
	}
}
