// Package core decides whether requests are within their limits, exactly: in
// every interval of a limit's window at most its units are admitted, by all
// processes that share a store together.
//
// A [Policy] is a named set of limits that are checked together. A [Limiter]
// decides on requests by what its [Store] has logged for the policy and the
// key, which says who is being counted:
//
//	limiter := core.New(core.NewMemory())
//	api := core.NewPolicy("api", core.PerMinute(100))
//	d, err := limiter.Allow(ctx, api, "203.0.113.7")
//	if err == nil && !d.Allowed {
//		// Too many requests: it would fit after d.RetryAfter.
//	}
//
// Package redisstream has the store that several processes share, in Redis
// Streams; [NewMemory] makes one in this process's memory, with the same
// answers. Web services use neither directly: the adapters for Gin, Echo and
// Fiber (modules ginlimit, echolimit and fiberlimit) and for net/http (package
// httplimit) find out who a request comes from, ask the limiter and answer what
// is over the limit.
//
// # How it counts
//
// Each admitted request is an entry in the log of its policy and key. A
// request is admitted when, with its own cost, no limit of the policy has more
// than its units in the window that ends now; denied requests leave no trace.
// Times are whole milliseconds of the store's clock, and an entry counts for
// exactly its window: the decision's RetryAfter is the wait after which the
// request would get in if nobody else took the place, and a millisecond less
// is not enough.
//
// # Layouts
//
// There are three ways to write a log, and a policy decides on one when it is
// made. Policies with one limit where every request costs 1 keep a [Counted]
// log: the entries in the window are the count. Policies with several limits or
// with [VariableCost] keep a [Summed] log: each entry carries the running total
// of admitted cost, so that the units in any window are a difference of two
// entries, and a decision costs the same for any limit, cost and length of log.
// Policies that are [Refundable] keep a [Refunded] log: a summed log whose
// entries also carry what was given back. With [Slices] a summed log is coarse:
// it has a few entries for any number of requests.
//
// # Giving back and settling
//
// Units are taken before a request is handled, so that of any number of
// requests at once no more pass than there is room for. What turns out not to
// count is given back afterwards, with [Limiter.Refund]: then only wrong
// passwords count, however many are tried at once. [Limiter.Settle] corrects an
// estimate to what was really used.
//
// # Several policies
//
// [Limiter.AllowAll] asks several policies for one request, all or nothing: per
// address, per user and per service, for example. Different policies by the
// request, such as one for each plan that users pay for, have names of their
// own and so logs of their own: a client that changes plans starts with the new
// plan's log, and finds its old one as it left it.
//
// # Changes while running
//
// [Limiter.Replace] puts other policies in the place of those of the same
// names, in this process; package policyfile, a module of its own, reads them
// from a file. A [Rule] holds for all processes on the same store within a
// second: it overrides a policy's limits, switches policies off or to shadow, or
// blocks, bans or exempts a client. [WithRulesInterval] says what that costs.
// Either way, what was counted before a change continues to count: tightening a limit
// hands out no budget. See [Policy.After].
// [Shadow] lets a policy count and report before it denies. [Limiter.Entries],
// [Limiter.Peek], [Limiter.Reset] and [Limiter.Ban] are what a support engineer
// needs.
//
// # Who is counted
//
// By default the address at the other end of the connection, which nobody can
// forge. Behind a proxy, name the proxy with [WithTrustedProxies]. Credentials
// such as API keys are counted by a digest: see [Identity].
package core
