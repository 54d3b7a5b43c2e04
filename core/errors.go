package core

import (
	"errors"
	"fmt"

	"github.com/streamlimit/streamlimit/core/internal/identity"
	"github.com/streamlimit/streamlimit/core/store"
)

var (
	// ErrCost is returned for a cost that can never be admitted: below 1, above one of
	// the policy's limits, or other than 1 for a policy without [VariableCost].
	// Retrying cannot succeed, so this is an error, not a denial. A cost above a limit
	// of a policy in shadow mode is allowed: see Decision.WouldDeny.
	ErrCost = errors.New("core: cost can never be admitted")

	// ErrNoKey is returned for an empty key, such as for a request without
	// the credential that it is counted by. Such requests are refused and
	// never share one log.
	ErrNoKey = identity.ErrNoKey

	// errNoPolicy is returned for a nil policy, and for the zero Policy.
	errNoPolicy = errors.New("core: no policy: make one with core.NewPolicy")

	// ErrNotRefundable is returned for a decision without units to give back: its
	// policy is not [Refundable], its request was not counted, or it was settled or
	// refunded before.
	ErrNotRefundable = errors.New("core: nothing to give back: the policy is not core.Refundable, or the request was not counted, or is settled")

	// ErrTooLate is returned when units can no longer be given back: the policy's grace
	// is over, or the log does not have the request.
	ErrTooLate = store.ErrTooLate

	// errDuplicatePolicy is returned when one call has the same key twice for policies of
	// one name.
	errDuplicatePolicy = errors.New("core: the same policy name and key twice")

	// ErrOverloaded is returned when this process is too slow: a request would wait, or
	// has waited, too long before it could be sent to the store. The store is not down,
	// so a second budget would be wrong: [FailClosed] and [FailLocal] refuse such a
	// request, and [FailOpen] lets it pass.
	ErrOverloaded = store.ErrOverloaded
)

// LimitedError is a denial as an error, for frameworks that handle errors in one place.
// Use errors.As to get the decision.
type LimitedError struct {
	// Decision is the denial. Of several denials on one request, it is the first one
	// for which waiting does not help, since the client is blocked. Otherwise it is the
	// one that lasts longest.
	Decision Decision

	// Others are the other denials on the same request, in the request's order.
	Others []Decision
}

// Denied returns nil if all decisions on a request are allowed, and otherwise a
// [*LimitedError].
func Denied(decisions []Decision) error {
	worst := -1
	for i, d := range decisions {
		if d.denies() && (worst < 0 || d.outlasts(&decisions[worst])) {
			worst = i
		}
	}
	if worst < 0 {
		return nil
	}
	e := &LimitedError{Decision: decisions[worst]}
	for i, d := range decisions {
		if i != worst && d.denies() {
			e.Others = append(e.Others, d)
		}
	}
	return e
}

func (d *Decision) denies() bool { return !d.Allowed && d.Policy != nil }

// outlasts reports whether the client must wait longer for d than for o, of two
// denials.
func (d *Decision) outlasts(o *Decision) bool {
	if blocked, before := d.Reason == ReasonBlocked, o.Reason == ReasonBlocked; blocked || before {
		return !before
	}
	return d.RetryAfter > o.RetryAfter
}

// Error names the policy and the limit, but not the key.
func (e *LimitedError) Error() string {
	if e.Decision.Policy == nil {
		return "streamlimit: denied"
	}
	return fmt.Sprintf("streamlimit: policy %s: %s", e.Decision.Policy.Name(), deniedDetail(&e.Decision))
}
