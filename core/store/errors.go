package store

import (
	"errors"
	"fmt"
)

// The errors of stores. Any other error means that the store did not respond.
var (
	// ErrFull is returned for a new key while a store has no room for it.
	ErrFull = errors.New("store: full of live keys")

	// ErrTooLate is returned when units can no longer be given back: the log's grace is
	// over, or the log does not have the request.
	ErrTooLate = errors.New("store: too late to give back")

	// ErrCrossSlot is returned by TakeAll for logs on different servers, unless all of
	// them are refundable.
	ErrCrossSlot = errors.New("store: the logs of these keys are on different servers: policies that are asked together there need core.Refundable")

	// ErrTooManyRules is returned by SetRule when there are [MaxRules].
	ErrTooManyRules = fmt.Errorf("store: there are %d rules already: delete some, or block networks instead of addresses", MaxRules)

	// ErrOverloaded is returned when this process is too slow: a request would wait, or
	// has waited, too long before it could be sent to the store. The store is not down.
	ErrOverloaded = errors.New("store: overloaded")

	// ErrDown is returned by a limiter while the store does not respond and no request is
	// sent to it. A policy that fails closed rejects requests then.
	ErrDown = errors.New("store: no response")

	// ErrRejected is returned by a store that responds, but not with a decision, mostly
	// because it is set up wrongly. It may still decide on other logs, so the error does
	// not mean that the store is down.
	ErrRejected = errors.New("store: the store refuses")

	// ErrWrongType is returned by a store that finds something else where a log should
	// be. The store does not change it.
	ErrWrongType = errors.New("store: something that is not a log has the log's key")

	// ErrClosed is returned by a store after Close.
	ErrClosed = errors.New("store: closed")
)

// ChargeError is an error of [Store.TakeAll] that concerns one of its charges.
type ChargeError struct {
	Index int // its place, from 0
	Err   error
}

func (e *ChargeError) Error() string { return fmt.Sprint(e.Err) }
func (e *ChargeError) Unwrap() error { return e.Err }
