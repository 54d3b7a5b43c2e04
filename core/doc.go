// Package core decides whether requests are within their limits. The limits are exact:
// all processes that share a store together admit at most a limit's units in every
// interval of its window.
//
// A [Policy] is a named set of limits that are checked together. A [Limiter] decides on
// requests by the logs in its [Store]. There is a log for each policy and key; the key
// says who is counted:
//
//	limiter := core.New(core.NewMemory())
//	api := core.NewPolicy("api", core.PerMinute(100))
//	d, err := limiter.Allow(ctx, api, "203.0.113.7")
//	if err == nil && !d.Allowed {
//		// Too many requests: it would fit after d.RetryAfter.
//	}
//
// Package redisstream has a store in Redis Streams that several processes share.
// [NewMemory] returns a store in this process's memory that makes the same decisions.
// Web services use neither directly. The adapters for Gin, Echo and Fiber (modules
// ginlimit, echolimit and fiberlimit) and for net/http (package httplimit) find out who
// a request comes from, call the limiter and respond to requests over the limit.
// Package store is for authors of stores.
//
// # How it counts
//
// Each admitted request is an entry in the log of its policy and key. A request is
// admitted if its cost fits into the window that ends now, for every limit of the
// policy. Denied requests leave no trace. Times are whole milliseconds of the store's
// clock, and an entry counts for exactly its window. RetryAfter of a decision is the
// wait after which the request would be admitted if nobody else took the place. A
// millisecond less is not enough.
//
// # Guarantees
//
// On one healthy primary, or in one process's memory:
//
//   - Every window admits at most the limit, across all processes, frameworks and
//     callers. Units that [Limiter.Settle] charges beyond an estimate were already
//     used, so they count against later requests.
//   - A request is counted at most once. A decision is not sent again if its script may
//     have run.
//   - RetryAfter is truthful: a request after that time is admitted if nobody else took the
//     place. An earlier request is denied, unless units were given back. A cached denial of
//     redisstream can be late by a round trip.
//   - The limits of one policy are taken all or nothing, and so are several policies of one
//     middleware: see [Limiter.AllowAll]. Units that an outer middleware took stay taken when
//     an inner one denies.
//
// # Layouts
//
// A log has one of four layouts. It is chosen when the policy is made. Policies with
// one limit where every request costs 1 keep a counted log: the entries in the window
// are the count. Policies with several limits or with [VariableCost] keep a summed
// log: each entry carries the running total of admitted cost. The units in any window
// are the difference of two entries, so a decision costs the same for any limit, cost
// and length of log. Policies that are [Refundable] keep a refunded log: a summed log
// whose entries also carry what was given back. With [Coarse] a summed log is coarse:
// it has a few entries for any number of requests. Policies with a calendar limit keep a
// calendar log, whose entries carry the units used in each period. It has one entry where
// no limit slides.
//
// # Calendar limits
//
// A limit such as [PerCalendarMonth] holds for each calendar period of a time zone:
// 50/day@UTC, 300/week@Europe/Berlin, 1000000/month(15)@America/New_York. All units are
// back when the period ends, by the store's clock. A denied request may be retried then.
// [Limiter.Used] returns what a key has used since the period began.
//
// Time zones need data. If the machine has none, import time/tzdata in package main. A
// policy whose zone has no data is an error. Hosts whose data differ disagree on when some
// periods begin: see [PerCalendarDay].
//
// A changed Max keeps what was counted. A changed period, or a changed window beside it,
// means a new log that starts empty. After its first decision a limiter refuses such a
// change by a rule, a file or [Limiter.Replace], and keeps its limits. Replace and the
// watcher of a file return the error; a refused rule is logged. After a deployment the new
// limits hold at once. So keep a long quota in a policy of its own.
//
// # Giving back and settling
//
// Units are taken before a request is handled, so any number of requests at once stay
// within the limit. [Limiter.Refund] gives units back afterwards if the request turns
// out not to count. A login service can then count only wrong passwords, however many
// are tried at once. [Limiter.Settle] corrects an estimate to the units really used.
//
// Middleware judges a request by the status of its response. A service that answers a wrong
// password with 200 or a redirect gives WithRefund a function of its own, not OnSuccess.
//
// # Requests in flight
//
// A policy of [NewConcurrency] limits how many requests of a key are in flight at once. It
// has no log. Each request takes a slot, which the limiter renews until the request ends:
//
//	uploads := core.NewConcurrency("uploads", 5, 30*time.Second)
//	slot, err := limiter.Acquire(ctx, uploads, user)
//
// A slot is live if it was taken or renewed less than its hold ago, by the store's clock.
// The live slots never exceed the limit. The adapters take and release slots themselves.
// Such a policy combines with the others of a request, all or nothing. After a crash, a
// slot is free when its hold is over. A request that outlives its slot is not stopped: see
// [Slot.Lost].
//
// # Several policies
//
// [Limiter.AllowAll] checks one request against several policies, all or nothing: per
// address, per user and per service, for example. A service can choose the policy by
// the request, such as one for each plan that users pay for. Such policies have
// different names, and so different logs. A client that changes plans starts with the
// new plan's log. The log of the old plan stays as it was.
//
// Routes that share a policy share its budget, for each key. Routes with budgets of
// their own need policies of different names. Limits stack: a request needs room in
// every limit that it passes, and the response names them all. The same policy on a
// group and on its route counts once.
//
// # Leases
//
// A decision costs a round trip to the store. For a key with thousands of requests a
// second, [Lease] lets each process take units ahead of requests and hand them out itself:
//
//	gateway := core.NewPolicy("gateway", core.PerMinute(100_000), core.Lease(time.Second))
//
// Then most decisions call no server, and the limits still hold exactly, for all processes
// together. Here d is the duration given to Lease. A unit is used within d of the time at
// which it was taken, and the log counts it for Window+d. The price is that units come
// back up to d late: a limit that is always full admits Max in each Window+d.
//
//   - A decision from a lease has the source [SourceLease]. Its Remaining, and r in
//     the response fields, are what the log had left when the lease was taken, plus
//     what the lease has left. Other processes take from the log meanwhile, so this
//     is an estimate and not a lower bound.
//   - ResetAfter, and t, are never too early. They can be longer than the window by d.
//   - RetryAfter of a denial is exact by the log: a request after that time is admitted if
//     nobody else took the place. Unused units of a lease come back earlier. A denial can
//     be as old as the shorter of d and 100 ms.
//   - While the store does not answer, the process hands out its leases until they end.
//     Then the failure mode decides.
//   - Bans and other rules hold at once. A lowered limit or a reset applies within d to
//     units that other processes took before.
//   - When a process is killed, the unused units of its leases come back only after
//     Window+d. A process that closes its limiter returns them.
//
// A lease is never more than an eighth of Max, nor more than a quarter of what is left.
// Close to the limit nothing is taken ahead, and denials are exact. A key that is seen
// once costs one call, as without leases, but takes about 1.4 times the server's time.
//
// Leases are for hot keys: a gateway, the account of a big customer, a limit for a whole
// service. They gain nothing for clients that send a request now and then, or for a Max
// below 16. The repository's core/benchmarks/leases/README.md shows the load of 10 to
// 2,000 processes with leases on a Redis server. A d above a sixtieth of the window costs
// more. In a model with a demand of 90% of the limit, 0.2% to 0.8% of requests were
// denied at a sixtieth.
//
// # Waiting
//
// A server denies a request that has no room. A worker, or a client of somebody else's
// service, waits: [Limiter.Wait] returns when its request is admitted, or fails at once if
// the deadline of its context is too early. Calls that wait on one key share their
// decisions in each process. NewTransport of package httplimit waits in this way for an
// http.Client.
//
// # Changes while running
//
// [Limiter.Replace] installs other policies in place of those with the same names, in
// this process. Package policyfile, a module of its own, reads them from a file. A
// [Rule] holds for all processes on the same store within a second: it overrides a
// policy's limits, switches policies off or to shadow, or blocks, bans or exempts a
// client. [WithRulesInterval] says what that costs. Either way, what was counted
// before a change continues to count: tightening a limit hands out no budget. See
// [Limiter.Replace]. [Shadow] lets a policy count and report before it denies.
// [Limiter.Entries], [Limiter.Peek], [Limiter.Reset] and [Limiter.Ban] are what a
// support engineer needs.
//
// # Response fields
//
// Adapters send RateLimit-Policy and RateLimit, as in revision 11 of
// draft-ietf-httpapi-ratelimit-headers, which can still change:
//
//	RateLimit-Policy: "api";q=100;w=60, "search";q=2;w=10, "search-hour";q=1000;w=3600
//	RateLimit: "api";r=97, "search";r=0;t=10, "search-hour";r=998
//	Retry-After: 10
//
// The first limit of a policy has the policy's name, or its [FieldName]. Further limits
// add their window. Limits that the request has passed before are listed too.
//
// The value of r is what is left. The value of t is the time until more units come
// free, in whole seconds: exact when nothing is left, and otherwise never too early. A
// t later than the response's Retry-After is left out. The fields are set before the
// handler, so a refund shows in the next response.
//
// The units of a policy are requests. If they are not, the option [Unit] names them, and
// RateLimit-Policy says so:
//
//	RateLimit-Policy: "tokens";q=100000;w=60;qu="tokens"
//
// [HeadersX] and [HeadersDraft06] are other forms. They have room for one limit, the one
// that binds. Their Reset counts seconds from now, not Unix time. [HeadersByUnit] has room
// for one limit of each unit, as clients of language models expect:
//
//	X-RateLimit-Limit-Requests: 60
//	X-RateLimit-Remaining-Requests: 59
//	X-RateLimit-Reset-Requests: 1m0s
//	X-RateLimit-Limit-Tokens: 100000
//	X-RateLimit-Remaining-Tokens: 98750
//	X-RateLimit-Reset-Tokens: 1m0s
//
// A concurrency policy sends qu="concurrent-requests", and neither w nor t, since nobody
// knows when a slot comes free. Its 429 has no Retry-After. HeadersX and HeadersDraft06
// have a Reset of 0 then, and HeadersByUnit leaves out the policy.
//
// A denied request gets 429, Retry-After in whole seconds, and a problem document (RFC
// 9457). A banned client gets 429 with the time that is left, and a blocked client 403:
//
//	{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too Many Requests","status":429,
//	 "detail":"2 requests per 10s; retry in 10s","violated-policies":["search"]}
//
// [ProblemFor] lists the other statuses. Scripts in browsers see the fields only if
// Access-Control-Expose-Headers lists them.
//
// # When the store fails
//
// A decision that the store does not make in time has failed. Then the failure mode
// decides: [WithFailureMode] for all policies, [OnStoreFailure] for one.
//
//   - [FailLocal], the default: this process's memory enforces the same limits. The
//     decision's Source is [SourceFallback]. N processes can admit N times a limit in
//     all, unless [WithLocalShare] divides it. Redis never counts these requests.
//   - [FailOpen]: the request passes and is not counted. The decision's Reason is
//     [ReasonFailOpen].
//   - [FailClosed]: an error, to which adapters respond with 503 and Retry-After, never
//     with 429. If one of several policies is closed, the request is rejected.
//
// A circuit breaker opens after five failures in a row, or when half of at least 20
// decisions within a second fail. No request waits for that server then. Each server of a
// Cluster or Ring has a breaker, so the keys of the other servers are not affected. The
// limiter probes the server in the background: four times a second while there are
// decisions, and less often otherwise. The first response closes the breaker.
//
// The limiter logs one line when a server stops responding and one when it is back, and
// at most one a minute about single failures. [Limiter.Health] has counts, also as
// JSON. Health shows only what requests have found, so a health check should also call
// [Limiter.Ping]. [Limiter.FailureMode] returns the mode of a policy. Start-up does not
// need the store.
//
// [ErrOverloaded] means that this process was too slow to send a decision. FailLocal then
// rejects the request as FailClosed does, since the store still has the budget.
// ErrOverloaded does not count against the store, nor does a caller that leaves early.
//
// # Who is counted
//
// By default, a request is counted by the address at the other end of the connection,
// which nobody can forge: "203.0.113.7", or the prefix "2001:db8::/64" for IPv6, where
// a client usually holds a whole /64. A peer without an address, as on a Unix socket,
// is refused, unless [WithTrustedUnixSocket] makes it a trusted proxy.
//
// Behind a proxy, name the proxy with [WithTrustedProxies]. The client is then the first
// address from the right of the forwarded chain that is not a trusted proxy. An element
// that is not an address, such as "unknown" or an obfuscated node of RFC 7239, ends the
// search at the last address before it.
//
// A client behind a translator (NAT64, SIIT) has an address such as
// 64:ff9b::203.0.113.7, and is counted by the IPv4 address inside. So is
// ::ffff:203.0.113.7. 6to4 is counted by /48, and all clients of Teredo are counted
// together. A proxy behind a translator is trusted by the address that it has here:
// WithTrustedProxies needs the IPv6 form.
//
// Credentials such as API keys are counted by a digest: the name of the credential and
// 128 bits of the HMAC-SHA-256 of its value under the secret of [WithKeySecret], or of
// its SHA-256 without one. The value itself is not stored or logged. While that secret is
// rotated, a client has a second key under the former secret. Functions AddressKey
// and CredentialKey of package adapter return the key of a client, for example to ban the
// client.
//
// The keys that adapters make, as decisions, the monitor and rules show them:
//
//	203.0.113.7, 2001:db8::/64   ByAddress
//	address=<digest>             ByAddress, with WithHashedAddresses
//	x-api-key=<digest>           ByHeader("X-API-Key")
//	bearer=<digest>              ByBearer
//	basic=<digest>               ByBasicUser
//	session=<digest>             BySecret("session", ...)
//	user=ann                     ByFunc("user", ...)
//	shop                         ByConstant("shop")
//	11:203.0.113.7,8:user=ann    ByAll, each part after its length
//
// # Personal data
//
// An address, a user and the digest of a credential name a person. The name of a log in
// Redis has none of them, only a digest. The digest has no secret, so anyone who can read
// Redis can find an address by trying all addresses. Keys themselves are in rules, until
// the rules are deleted or end, and in the feed and page of the monitor.
//
// With [WithHashedAddresses] no key has an address. A rule on a network has the address
// of the network. The monitor's log lines about wrong passwords name a client by its key.
// Other log lines have no key, except those about actions in the monitor.
//
// A log in Redis has a time to live of at most twice the policy's longest window since
// its last request. In memory, a log is deleted within a second after its last entry has
// left the window. The page of the monitor shows the keys of the last minute. Its feed in
// Redis has the busiest keys of each ten seconds: the newest 57,600 entries, an hour of
// 16 processes. The feed is deleted two hours after its last entry.
package core
