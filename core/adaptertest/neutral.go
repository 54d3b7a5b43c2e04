package adaptertest

import (
	"context"
	"io"
	"slices"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/adapter"
)

// suite is an adapter without its framework's types.
type suite struct {
	serve   func(*testing.T, app) (url string)
	lacks   []string
	endings map[string]ownEnding
}

// ownEnding is an [Ending] without the framework's types.
type ownEnding struct {
	without string
	saw     int
}

func (a Adapter[C, M]) suite() suite {
	s := suite{serve: a.serve, lacks: a.Lacks, endings: map[string]ownEnding{}}
	for name, e := range a.Endings {
		s.endings[name] = ownEnding{e.Without, e.Saw}
	}
	return s
}

// has reports whether the framework has a field of Adapter.
func (s suite) has(field string) bool { return !slices.Contains(s.lacks, field) }

type app struct {
	fields  map[string]string // set by middleware outside of the limits
	limits  []limit
	groups  []group
	onError func(error)
}

type group struct {
	prefix string
	limits []limit
	routes []route
}

type route struct {
	path    string
	limits  []limit
	handler func(visit) error
	ending  string // in place of the handler, if the adapter has it
}

// limit is one middleware of the adapter.
type limit struct {
	limiter *core.Limiter
	policy  *core.Policy
	options
}

// options are the options of the middleware. A zero value leaves the option out.
type options struct {
	key             *key
	also            []also
	cost            func(visit) (int64, error)
	skip            func(visit) bool
	tier            func(visit) *core.Policy
	refund          func(v visit, status int) bool
	refundOn        string // "success" and "failure" stand for the adapter's own functions
	used            func(v visit, status int) int64
	denied          func(visit, core.Decision) error
	failed          func(visit, error) error
	frameworkErrors bool
	headers         []core.HeaderForm
	defaults        *options // of the preset that makes the middleware
}

// also is a further policy and its key.
type also struct {
	policy *core.Policy
	key    *key
}

// key is a call of one of the By functions.
type key struct {
	by   string
	name string
	find func(visit) (string, error)
	keys []*key
}

func byAddress() *key             { return &key{by: "Address"} }
func byHeader(name string) *key   { return &key{by: "Header", name: name} }
func byBearer() *key              { return &key{by: "Bearer"} }
func byBasicUser() *key           { return &key{by: "BasicUser"} }
func byConstant(name string) *key { return &key{by: "Constant", name: name} }
func byAll(keys ...*key) *key     { return &key{by: "All", keys: keys} }
func byFirst(keys ...*key) *key   { return &key{by: "First", keys: keys} }

func bySecret(name string, find func(visit) (string, error)) *key {
	return &key{by: "Secret", name: name, find: find}
}

func byFunc(name string, find func(visit) (string, error)) *key {
	return &key{by: "Func", name: name, find: find}
}

// visit is the framework's context.
type visit interface {
	header(name string) string
	param(name string) string
	context() context.Context
	setContext(ctx context.Context)
	answer(status int, body string) error
	stream(write func(w io.Writer, flush func())) error
	forward(path string) error
	refuse(status int) error
	fromContext() (core.Decision, bool)
	decisions() []core.Decision
	boundKey(limiter *core.Limiter, k *key) (string, error)
}

type visitOf[C, M any] struct {
	a Adapter[C, M]
	c C
}

func (v visitOf[C, M]) header(name string) string         { return v.a.Header(v.c, name) }
func (v visitOf[C, M]) param(name string) string          { return v.a.Param(v.c, name) }
func (v visitOf[C, M]) context() context.Context          { return v.a.Context(v.c) }
func (v visitOf[C, M]) setContext(ctx context.Context)    { v.a.SetContext(v.c, ctx) }
func (v visitOf[C, M]) answer(status int, b string) error { return v.a.Answer(v.c, status, b) }
func (v visitOf[C, M]) stream(write func(io.Writer, func())) error {
	return v.a.Stream(v.c, write)
}
func (v visitOf[C, M]) forward(path string) error          { return v.a.Forward(v.c, path) }
func (v visitOf[C, M]) refuse(status int) error            { return v.a.Refuse(v.c, status) }
func (v visitOf[C, M]) fromContext() (core.Decision, bool) { return v.a.FromContext(v.c) }
func (v visitOf[C, M]) decisions() []core.Decision         { return v.a.Decisions(v.c) }

func (v visitOf[C, M]) boundKey(limiter *core.Limiter, k *key) (string, error) {
	return v.a.KeyFunc(limiter, v.a.key(k))(v.c)
}

func (a Adapter[C, M]) serve(t *testing.T, n app) string {
	served := App[C, M]{OnError: n.onError}
	for name, value := range n.fields {
		served.Use = append(served.Use, a.SetField(name, value))
	}
	served.Use = append(served.Use, a.middleware(n.limits)...)
	for _, g := range n.groups {
		group := Group[C, M]{Prefix: g.prefix, Use: a.middleware(g.limits)}
		for _, r := range g.routes {
			own := Route[C, M]{
				Path: r.path, Use: a.middleware(r.limits),
				Handler: func(c C) error { return r.handler(visitOf[C, M]{a, c}) },
			}
			if e, ok := a.Endings[r.ending]; ok {
				own.Use, own.Handler = append(own.Use, e.Use...), e.Handler
			}
			group.Routes = append(group.Routes, own)
		}
		served.Groups = append(served.Groups, group)
	}
	return a.Serve(t, served)
}

func (a Adapter[C, M]) middleware(limits []limit) []M {
	var all []M
	for _, l := range limits {
		own := a.options(l.options)
		if l.defaults != nil {
			all = append(all, a.Defaults(l.limiter, a.options(*l.defaults)...)(l.policy, own...))
			continue
		}
		all = append(all, a.New(l.limiter, l.policy, own...))
	}
	return all
}

func (a Adapter[C, M]) options(o options) []adapter.Option[C] {
	visit := func(c C) visit { return visitOf[C, M]{a, c} }
	var all []adapter.Option[C]
	if o.key != nil {
		all = append(all, a.WithKey(a.key(o.key)))
	}
	for _, more := range o.also {
		all = append(all, a.WithPolicy(more.policy, a.key(more.key)))
	}
	if o.cost != nil {
		all = append(all, a.WithCost(func(c C) (int64, error) { return o.cost(visit(c)) }))
	}
	if o.skip != nil {
		all = append(all, a.WithSkip(func(c C) bool { return o.skip(visit(c)) }))
	}
	if o.tier != nil {
		all = append(all, a.WithTier(func(c C) *core.Policy { return o.tier(visit(c)) }))
	}
	if o.refund != nil {
		all = append(all, a.WithRefund(func(c C, status int) bool { return o.refund(visit(c), status) }))
	}
	switch o.refundOn {
	case "success":
		all = append(all, a.WithRefund(a.OnSuccess))
	case "failure":
		all = append(all, a.WithRefund(a.OnFailure))
	}
	if o.used != nil {
		all = append(all, a.WithSettle(func(c C, status int) int64 { return o.used(visit(c), status) }))
	}
	if o.denied != nil {
		all = append(all, a.WithDenied(func(c C, d core.Decision) error { return o.denied(visit(c), d) }))
	}
	if o.failed != nil {
		all = append(all, a.WithErrorHandler(func(c C, err error) error { return o.failed(visit(c), err) }))
	}
	if o.frameworkErrors {
		all = append(all, a.WithFrameworkErrors())
	}
	if o.headers != nil {
		all = append(all, a.WithHeaders(o.headers...))
	}
	return all
}

func (a Adapter[C, M]) key(k *key) adapter.Key[C] {
	find := func(c C) (string, error) { return k.find(visitOf[C, M]{a, c}) }
	keys := make([]adapter.Key[C], len(k.keys))
	for i, part := range k.keys {
		keys[i] = a.key(part)
	}
	switch k.by {
	case "Header":
		return a.ByHeader(k.name)
	case "Bearer":
		return a.ByBearer()
	case "BasicUser":
		return a.ByBasicUser()
	case "Secret":
		return a.BySecret(k.name, find)
	case "Func":
		return a.ByFunc(k.name, find)
	case "Constant":
		return a.ByConstant(k.name)
	case "All":
		return a.ByAll(keys...)
	case "First":
		return a.ByFirst(keys...)
	}
	return a.ByAddress()
}
