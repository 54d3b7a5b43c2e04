package adapter

import (
	"errors"
	"strconv"

	"github.com/streamlimit/streamlimit/core"
)

// refuse answers a request that is not passed on because of err.
func (m *Middleware[C]) refuse(c C, x Exchange, err error) error {
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
	x.Record().setFields(&fields{}, x, problem.RetryAfter)
	switch {
	case denied && m.denied != nil:
		return m.denied(c, limited.Decision)
	case m.toFramework:
		return m.framework.Fail(c, problem, err)
	}
	return m.framework.Respond(c, problem.Status, core.ProblemContentType, problem.Body())
}
