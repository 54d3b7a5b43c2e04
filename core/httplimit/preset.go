package httplimit

import (
	"net/http"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// Preset makes limits that have a limiter and options in common. Make one with
// [Defaults].
type Preset struct{ preset adapter.Preset[*http.Request] }

// Defaults returns a preset of the options, so that they are given once for all routes:
//
//	limits := httplimit.Defaults(limiter, httplimit.WithKey(user), httplimit.WithDenied(denied))
//	handler := limits.New(api)(mux)
//	mux.Handle("GET /search", limits.New(search, httplimit.WithHeaders(core.HeadersX))(handler))
//
// The options of [Preset.New] come after those of the preset, so they apply where both
// are given, except for [WithPolicy], which adds to them. Defaults panics on a nil
// limiter.
func Defaults(limiter *core.Limiter, options ...Option) Preset {
	return Preset{framework.Defaults(limiter, options...)}
}

// New makes middleware as the function [New] does, with the limiter and the options of
// the preset.
func (p Preset) New(policy *core.Policy, options ...Option) func(http.Handler) http.Handler {
	limiter, all := framework.FromPreset(p.preset, options...)
	return New(limiter, policy, all...)
}
