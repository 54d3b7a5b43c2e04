package adapter

import (
	"slices"

	"github.com/streamlimit/streamlimit/core"
)

// Preset is a limiter, and the options of all limits that are made with it. The zero
// Preset is not valid.
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

// FromPreset returns the arguments of New for one limit of a preset: the limiter, the
// options of the preset, then the options of the limit. It panics with advice on the zero
// Preset.
func (f Framework[C]) FromPreset(p Preset[C], options ...Option[C]) (*core.Limiter, []Option[C]) {
	f.must(p.limiter != nil, "Preset.New", "a Preset without a limiter: make the Preset with Defaults")
	return p.limiter, slices.Concat(p.options, options)
}
