package echolimit

import (
	"github.com/labstack/echo/v4"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// Preset makes limits that have a limiter and options in common. Make one with
// [Defaults].
type Preset struct{ preset adapter.Preset[echo.Context] }

// Defaults returns a preset of the options, so that they are given once for all routes:
//
//	limits := echolimit.Defaults(limiter, echolimit.WithKey(user), echolimit.WithDenied(denied))
//	e.Use(limits.New(api))
//	e.GET("/search", handler, limits.New(search, echolimit.WithHeaders(core.HeadersX)))
//
// The options of [Preset.New] come after those of the preset, so they apply where both
// are given, except for [WithPolicy], which adds to them. Defaults panics on a nil
// limiter.
func Defaults(limiter *core.Limiter, options ...Option) Preset {
	return Preset{framework.Defaults(limiter, options...)}
}

// New makes middleware as the function [New] does, with the limiter and the options of
// the preset.
func (p Preset) New(policy *core.Policy, options ...Option) echo.MiddlewareFunc {
	limiter, all := framework.FromPreset(p.preset, options...)
	return New(limiter, policy, all...)
}
