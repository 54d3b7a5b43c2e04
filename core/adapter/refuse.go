package adapter

import (
	"errors"
	"strconv"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/field"
)

// stale are the resource's response fields that make caches store or revalidate a
// response. Middleware outside of the limit sets them. Some caches prefer a field of
// their own to Cache-Control. Vary is not in the list, since it makes no cache store a
// response.
var stale = []string{
	"Etag", "Last-Modified", "Expires", "Age", "Pragma",
	"Cdn-Cache-Control", "Cloudflare-Cdn-Cache-Control", "Surrogate-Control", "X-Accel-Expires",
}

// refuse responds to a request that is not passed on because of err. No cache may store
// the response, whichever code makes it.
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
