package adapter

import (
	"slices"

	"github.com/streamlimit/streamlimit/core"
)

// Preset is a limiter, and the options of all limits that are made with it. The zero
// Preset has no limiter.
type Preset[C any] struct {
	limiter *core.Limiter
	options []Option[C]
}

// Defaults returns a preset, and panics with advice on a wrong use.
func (f Framework[C]) Defaults(limiter *core.Limiter, options ...Option[C]) Preset[C] {
	f.must(limiter != nil, "Defaults", "nil limiter: "+limiterAdvice)
	f.must(!slices.ContainsFunc(options, func(o Option[C]) bool { return o == nil }), "Defaults", "a nil option: leave it out")
	return Preset[C]{limiter, slices.Clone(options)}
}

// Limiter returns the limiter, or nil.
func (p Preset[C]) Limiter() *core.Limiter { return p.limiter }

// With returns the options of one limit: those of the preset, and then its own.
func (p Preset[C]) With(options ...Option[C]) []Option[C] { return slices.Concat(p.options, options) }
