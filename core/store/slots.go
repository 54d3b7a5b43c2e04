package store

import (
	"context"
	"errors"
	"time"
)

// The bounds of the hold of a concurrency limit: see [Slots]. A slot is renewed three
// times in a hold, so a shorter hold would be lost in one pause of a process.
const (
	MinHold = time.Second
	MaxHold = 24 * time.Hour
)

// MaxSlots is the largest Max of a concurrency limit.
const MaxSlots = int64(1_000_000)

// ErrSlotLost is returned for a slot that the store does not have. It was not renewed
// within its hold, or its log was reset.
var ErrSlotLost = errors.New("store: slot lost")

// Slotter is a [Store] that keeps slots, which are the requests in flight that a
// concurrency limit allows. A log of the layout [Slots] has one limit. Its Max is the
// number of slots, and its Window is the hold. A slot is live while it was renewed within
// the hold by the store's clock. At most Max slots of a log and key are live.
//
// A slot has a random token, the Token of its [Charge]. [Store.TakeAll] takes a slot for
// each charge that has one. All or nothing holds for logs and slots together. To take a
// slot again, to renew it and to release it do no harm. The other methods work as for
// logs: Peek counts the live slots, Entries lists them by their last renewal, Reset ends
// all of them. A store does not need to implement Take and Settle for slots. RetryAfter,
// ResetAfter and FreeIn are 0, since nobody knows when a request ends.
type Slotter interface {
	// RenewSlots makes each slot live for another hold, and returns an error for each
	// slot, in order. The error is nil for a renewed slot, and an [ErrSlotLost] if the
	// store does not have the slot. A renewal that comes late can succeed, if nobody has
	// taken a slot since. After any other error the slot may have been renewed or not.
	RenewSlots(ctx context.Context, slots []Charge) []error

	// ReleaseSlots frees each slot, and returns an error for each, in order. It is not
	// an error if the store does not have the slot. After an error the slot may have
	// been freed or not.
	ReleaseSlots(ctx context.Context, slots []Charge) []error
}
