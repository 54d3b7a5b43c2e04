package fiberlimit

import (
	"github.com/gofiber/fiber/v3"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// Key sets what a request is counted by. Make one with the By functions, which panic on a
// nil function, an empty name and an empty list.
//
// The functions of a key may return an error to reject the request: [core.Refuse] chooses
// the status, [core.ErrNoKey] is 401, and a *fiber.Error goes to Fiber's ErrorHandler as
// it is. An error about a malformed body is 400, such as the errors of package json, and
// so is a *fiber.BindError. An [http.MaxBytesError] is 413. Any other error is 503, and
// its text is not shown. Strings that they take from the context need not be copied.
type Key = adapter.Key[fiber.Ctx]

// ByAddress counts by the client's address, IPv6 by its /64 unless [core.WithIPv6Prefix]
// sets another prefix. The address is the peer's own, unless the peer is one of
// [core.WithTrustedProxies]. Fiber's IP is not used.
func ByAddress() Key { return framework.ByAddress() }

// ByHeader counts by the value of a header field, such as "X-API-Key". Only a digest of
// the value is kept. A request without it is rejected with 401. To count it by its
// address instead, write ByFirst(ByHeader("X-API-Key"), ByAddress()).
//
// A client that can invent values gets a new budget with each. Validate the values
// first, or limit by address as well.
//
// ByHeader panics for Authorization, Proxy-Authorization and Cookie. One credential
// can be written in many ways there, and each would have a budget: use [ByBearer],
// [ByBasicUser] or [BySecret].
func ByHeader(name string) Key { return framework.ByHeader(name) }

// ByBearer counts by the bearer token in the Authorization field (RFC 6750). Only a
// digest of the token is kept. All ways to write one token are one key: the case of the
// scheme, white space, and the unused last bits of a JSON Web Token. A request without a
// bearer token has no key, as in [ByHeader]. A request whose field is malformed or
// appears twice is rejected with 400.
//
// The token is not verified. A client that can invent tokens gets a new budget with
// each, as in [ByHeader]. After authentication, [ByFunc] counts by user.
func ByBearer() Key { return framework.ByBearer() }

// ByBasicUser counts by the user in the Authorization field of HTTP Basic authentication
// (RFC 7617), whatever the password. Only a digest is kept, since many services take an
// API key as the user. All ways to write one user in base64 are one key; upper and lower
// case are different users. Everything else is as in [ByBearer].
//
// The password is not verified, so a stranger can use up the budget of a user:
// ByAll(ByBasicUser(), ByAddress()) gives each address a budget of its own.
func ByBasicUser() Key { return framework.ByBasicUser() }

// BySecret counts by the value that find returns, such as a cookie. Only a digest of
// the value is kept. The name is part of the key. An empty value counts as missing, as
// in [ByHeader].
//
// Return what your service looks up, such as the ID of the session, and not the
// client's spelling. Otherwise each spelling of a value, such as in percent-encoding,
// has a budget of its own.
func BySecret(name string, find func(fiber.Ctx) (string, error)) Key {
	return framework.BySecret(name, find)
}

// ByFunc counts by the value that find returns, such as the ID of a user. The value is
// kept as it is: use [BySecret] for secrets. The name is part of the key. An empty
// value counts as missing, as in [ByHeader].
func ByFunc(name string, find func(fiber.Ctx) (string, error)) Key {
	return framework.ByFunc(name, find)
}

// ByConstant counts all requests by the name: one budget for all clients, such as the
// budget of a service behind yours. It is mostly for [WithPolicy], beside a limit for
// each client.
func ByConstant(name string) Key { return framework.ByConstant(name) }

// ByAll counts by all keys together: one budget for each combination. The request needs
// all of them.
func ByAll(keys ...Key) Key { return framework.ByAll(keys...) }

// ByFirst counts by the first key that the request has.
func ByFirst(keys ...Key) Key { return framework.ByFirst(keys...) }

// KeyFunc returns a function that finds the key of a request as [New] does with the same
// limiter and key. Use it for the limiter's Peek, Used and Reset:
//
//	keyOf := fiberlimit.KeyFunc(limiter, fiberlimit.ByAddress())
//	...
//	key, err := keyOf(c)
//	d, err := limiter.Peek(c.Context(), api, key)
func KeyFunc(limiter *core.Limiter, key Key) func(fiber.Ctx) (string, error) {
	return framework.KeyFunc(limiter, key)
}
