package adapter

import (
	"errors"
	"strconv"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/field"
)

// stale are the response fields by which caches keep a response, or ask whether it
// has changed. They are those of the resource, set outside of the limit. Some caches
// prefer a field of their own to Cache-Control. Vary is not among them: it keeps no
// response, and is about what middleware outside does.
var stale = []string{
	"Etag", "Last-Modified", "Expires", "Age", "Pragma",
	"Cdn-Cache-Control", "Cloudflare-Cdn-Cache-Control", "Surrogate-Control", "X-Accel-Expires",
}

// refuse answers a request that is not passed on because of err. No cache may keep the
// answer, whoever makes it.
func (m *Middleware[C]) refuse(c C, x Exchange, err error) error {
	x.SetField("Cache-Control", []string{"no-store"})
	for _, name := range stale {
		x.DeleteField(name)
	}
	var limited *core.LimitedError
	denied := errors.As(err, &limited)
	switch {
	case denied:
	case m.failed != nil:
		return m.failed(c, err)
	case m.framework.Owns(c, err):
		return err
	}
	problem := core.ProblemFor(err)
	if problem.RetryAfter > 0 {
		x.SetField("Retry-After", []string{strconv.FormatInt(problem.RetryAfter, 10)})
	}
	if r := x.Record(); r != nil {
		r.setFields(&fields{}, x, problem.RetryAfter)
		x.SetRecord(r.refused())
	}
	switch {
	case denied && m.denied != nil:
		return m.denied(c, limited.Decision)
	case m.toFramework:
		return m.framework.Fail(c, problem, err)
	}
	return m.framework.Respond(c, problem.Status, field.ProblemType, problem.Body())
}
