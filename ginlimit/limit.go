package ginlimit

import (
	"github.com/gin-gonic/gin"

	"github.com/streamlimit/streamlimit/core"
)

// New makes middleware that limits requests by policy. Every route behind it shares the
// budget that a client has under the policy:
//
//	router.Use(ginlimit.New(limiter, api))
//	router.GET("/search", ginlimit.New(limiter, search), handler)
//
// By default, requests cost 1 unit and are counted by the address of the client
// ([ByAddress]), and responses carry the fields RateLimit and RateLimit-Policy.
// Requests that are not passed on are aborted and answered with a problem document: 429
// when denied, and otherwise the response that [core.ProblemFor] returns for the error.
// Scripts of other origins can read the fields, Retry-After among them, only when
// Access-Control-Expose-Headers names them.
//
// A request is counted once by each policy and key, even if it passes several limits,
// such as when a handler passes it to the router again with HandleContext. The response
// fields of the first policies stay. A request with a header of its own, as Clone makes
// it, is another request, and is counted as one.
//
// A policy of [core.NewConcurrency] gives the request a slot before the handler runs, and
// frees the slot when the handler has returned, failed or panicked.
//
// Responses to requests that are not passed on have Cache-Control: no-store, whichever
// code writes them, so that no cache stores them. New removes the fields of a resource
// that middleware outside has set, such as ETag.
//
// New panics on a nil limiter or policy, and on an option that fits none of the
// policies. New registers the policies with the limiter: see [core.Limiter.Policies].
func New(limiter *core.Limiter, policy *core.Policy, options ...Option) gin.HandlerFunc {
	m := framework.New(limiter, policy, options...)
	return func(c *gin.Context) {
		// Gin has the response now: its handlers return no errors.
		if passed, _ := m.Handle(c, next); !passed {
			c.Abort()
		}
	}
}

func next(c *gin.Context) error {
	c.Next()
	return nil
}

// FromContext returns the newest decision on the request, and reports whether there is
// one. In a handler it is the decision of the innermost limit. There is none before the
// first limit, or if all limits were skipped. For a limit of several policies it is the
// decision by the policy of [New] or [WithTier], or the denial.
func FromContext(c *gin.Context) (core.Decision, bool) { return recordOf(c).Last() }

// Decisions returns all decisions on the request so far, outer first. Decisions by
// [WithPolicy] come after the decision by their limit's own policy.
func Decisions(c *gin.Context) []core.Decision { return recordOf(c).Decisions() }
