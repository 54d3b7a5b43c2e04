package ginlimit

import (
	"github.com/gin-gonic/gin"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// Preset makes limits that have a limiter and options in common. Make one with
// [Defaults].
type Preset struct{ preset adapter.Preset[*gin.Context] }

// Defaults returns a preset of the options, so that they are given once for all routes:
//
//	limits := ginlimit.Defaults(limiter, ginlimit.WithKey(user), ginlimit.WithDenied(denied))
//	router.Use(limits.New(api))
//	router.GET("/search", limits.New(search, ginlimit.WithHeaders(core.HeadersX)), handler)
//
// The options of [Preset.New] come after those of the preset, so they apply where both
// are given, except for [WithPolicy], which adds to them. Defaults panics on a nil
// limiter.
func Defaults(limiter *core.Limiter, options ...Option) Preset {
	return Preset{framework.Defaults(limiter, options...)}
}

// New makes middleware as the function [New] does, with the limiter and the options of
// the preset.
func (p Preset) New(policy *core.Policy, options ...Option) gin.HandlerFunc {
	limiter, all := framework.FromPreset(p.preset, options...)
	return New(limiter, policy, all...)
}
