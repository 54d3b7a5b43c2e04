package telemetry

import "github.com/streamlimit/streamlimit/core"

// result is the attribute of that name: an index of results.
type result int

const (
	allowed result = iota
	denied
	shadowDenied
	fallback
	failed
)

var results = [...]string{allowed: "allowed", denied: "denied", shadowDenied: "shadow_denied", fallback: "fallback", failed: "error"}

func resultOf(o *core.Observation) result {
	switch {
	case o.Result == core.ResultError:
		return failed
	case o.Source == core.SourceFallback || o.Reason == core.ReasonFailOpen:
		return fallback
	case o.Result == core.ResultDenied:
		return denied
	case o.Result == core.ResultShadowDenied:
		return shadowDenied
	}
	return allowed
}
