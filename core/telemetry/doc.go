// Package telemetry counts and times a limiter's decisions with OpenTelemetry:
//
//	observer, err := telemetry.New()
//	limiter := core.New(store, core.WithObserver(observer))
//	observer.Watch(limiter)
//
// # Metrics
//
//   - streamlimit.requests, a counter of {request}: decisions, by policy and result.
//   - streamlimit.decision.duration, a histogram of seconds: how long they took,
//     by policy and result.
//   - streamlimit.store.down, an up-down counter of {server}: servers of the store
//     that don't answer, and are not asked for requests, as [core.Health] has
//     them. It needs [Observer.Watch].
//
// The result is one of
//
//   - allowed
//   - denied, by the limits or a rule
//   - shadow_denied: it would have been denied, by a policy in shadow mode
//   - fallback: decided without the store, which did not answer, to allow or to deny
//   - error: there is no decision
//
// A request under several policies counts once for each, with the time that all
// of them took together. The duration does not include the handler's.
//
// Keys, addresses and routes are no attributes: the only ones are the policy, of
// which there are as many as [WithMaxPolicies] says, and the result.
//
// # Traces
//
// Each decision is also an event, "streamlimit.decision", of the span in the
// context that the limiter was asked with, if there is one and it is recorded.
// It has the policy and the result as above, whether the request was allowed,
// its cost, and the decision's source, reason, limit, remaining and
// retry_after, in seconds.
package telemetry
