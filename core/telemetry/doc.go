// Package telemetry counts and times a limiter's decisions with OpenTelemetry:
//
//	observer, err := telemetry.New()
//	limiter := core.New(store, core.WithObserver(observer))
//	observer.Watch(limiter)
//
// # Metrics
//
//   - streamlimit.requests, a counter of {request}: requests, by policy, result and
//     source.
//   - streamlimit.units, a counter of {unit}: the cost of requests, by the same attributes.
//   - streamlimit.decision.duration, a histogram of seconds: how long decisions took,
//     by the same attributes.
//   - streamlimit.store.down, an up-down counter of {server}: servers of the store that
//     do not answer and get no requests, as in [core.Health]. It needs [Observer.Watch].
//   - streamlimit.slots.lost, a counter of {slot}: slots that ended before their requests,
//     so that more requests than a concurrency limit allows could be in flight. See
//     [core.Slot.Lost]. It needs [Observer.Watch].
//
// The result of a request is one of:
//
//   - allowed
//   - denied, by the limits or a rule
//   - shadow_denied: allowed, though a policy in shadow mode would have denied it
//   - overloaded: this process was too slow to decide ([core.ErrOverloaded])
//   - error: the decision failed
//
// The source of a decision is one of:
//
//   - redis, or memory: the limiter's store
//   - lease: units that the process took ahead, see [core.Lease]
//   - fallback: the memory of this process, because the store did not answer
//   - none: no log was used. A rule decided, the decision failed, or the store did not
//     answer and the policy fails open (allowed).
//
// A request under several policies counts once for each. Each has the time that all of
// them took together. The sum over the policies counts decisions, not requests. The
// duration does not include the handler's.
//
// Keys, addresses and routes are never attributes. The only attribute beside
// result and source is the policy. [WithMaxPolicies] bounds how many there are.
//
// # Traces
//
// Each decision is also an event, "streamlimit.decision". It belongs to the span in the
// context of the call to the limiter, if that span is recorded. It has the policy, result
// and source as above, and the cost. With a decision, it also has the reason, limit,
// remaining, and retry_after in seconds.
package telemetry
