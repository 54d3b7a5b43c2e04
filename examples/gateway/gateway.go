package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

// keyLimits returns the limits of an API key. They are checked together: a request that one
// has no room for takes nothing of the others.
func keyLimits() []*core.Policy {
	return []*core.Policy{
		core.NewPolicy("requests", core.PerMinute(60)),
		core.NewConcurrency("in-flight", 5, 30*time.Second),
		core.NewPolicy("tokens", core.PerMinute(100_000), core.Unit("tokens"), core.VariableCost(), core.Refundable(0)),
		core.NewPolicy("month", core.PerCalendarMonth(5_000_000, time.UTC), core.Unit("tokens"), core.VariableCost(), core.Refundable(0)),
	}
}

const (
	maxBody    = 1 << 20          // bytes of a request
	maxTokens  = 100_000          // of one completion
	maxStream  = 10 * time.Minute // for one completion
	unlimited  = 1000             // tokens of a request without max_tokens
	bytesToken = 4                // of a prompt, roughly
)

// gateway passes requests to a model.
type gateway struct {
	model  string // its URL
	client *http.Client
	keys   map[[sha256.Size]byte]bool
}

// newGateway returns the handler for completions by a model. Each of the limits counts by
// API key. Those on tokens take the estimate, and are settled each for itself: where the
// stream has outlasted one, the others are still corrected.
func newGateway(limiter *core.Limiter, model string, keys []string, limits []*core.Policy) http.Handler {
	// What the provider admits, of all gateways together. Requests wait here.
	provider := core.NewPolicy("provider", core.PerSecond(100))
	g := &gateway{
		model:  model,
		client: &http.Client{Transport: httplimit.NewTransport(limiter, provider)},
		keys:   make(map[[sha256.Size]byte]bool),
	}
	for _, key := range keys {
		g.keys[sha256.Sum256([]byte(key))] = true
	}
	options := []httplimit.Option{
		httplimit.WithKey(httplimit.ByBearer()),
		httplimit.WithCost(estimate),
		httplimit.WithSettle(func(r *http.Request, _ int) int64 { return callOf(r).tokens() }),
		httplimit.WithHeaders(core.HeadersByUnit, core.HeadersIETF),
	}
	for _, more := range limits[1:] {
		options = append(options, httplimit.WithPolicy(more, httplimit.ByBearer()))
	}
	limited := httplimit.New(limiter, limits[0], options...)(http.HandlerFunc(g.complete))
	return http.MaxBytesHandler(g.authenticate(limited), maxBody)
}

// authenticate passes on requests with a key that is known: strangers would have a budget for
// each key that they invent. It gives the request its call.
func (g *gateway) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || !g.keys[sha256.Sum256([]byte(key))] {
			refuse(w, core.Refuse(http.StatusUnauthorized, "no such API key"))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, &call{})))
	})
}

// call is one request: what was asked, and what it has used so far. Middleware outside of the
// limit makes it, so that the limit and the handler have the same.
type call struct {
	body   []byte
	stream bool
	prompt int64 // tokens, estimated
	sent   int64 // tokens of the completion that have come so far
	usage  int64 // tokens in all, as the model says at the end; 0 before
	begun  bool  // the model has the prompt
}

type callKey struct{}

func callOf(r *http.Request) *call { return r.Context().Value(callKey{}).(*call) }

// tokens returns how many tokens the call has used. A call that the model did not take is
// free.
func (c *call) tokens() int64 {
	switch {
	case c.usage > 0:
		return c.usage
	case c.begun:
		return c.prompt + c.sent
	}
	return 0
}

// estimate reads a request, and returns the most tokens that it can use. More tokens than a
// limit ever admits are refused with 400.
func estimate(r *http.Request) (int64, error) {
	c := callOf(r)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err // 413 for a body that is too large
	}
	var asked struct {
		Messages []struct {
			Content string `json:"content"`
		} `json:"messages"`
		MaxTokens *int64 `json:"max_tokens"`
		Stream    bool   `json:"stream"`
	}
	if err := json.Unmarshal(body, &asked); err != nil {
		return 0, err // 400
	}
	if len(asked.Messages) == 0 {
		return 0, core.Refuse(http.StatusBadRequest, "messages are missing")
	}
	most := int64(unlimited)
	if asked.MaxTokens != nil {
		most = *asked.MaxTokens
	}
	if most < 1 || most > maxTokens {
		return 0, core.Refuse(http.StatusBadRequest, fmt.Sprintf("max_tokens: use 1 to %d", maxTokens))
	}
	for _, m := range asked.Messages {
		c.prompt += (int64(len(m.Content)) + bytesToken - 1) / bytesToken
	}
	c.stream = asked.Stream
	c.body, err = withUsage(body, most, asked.Stream)
	return c.prompt + most, err
}

// withUsage returns the request for the model. It asks the model to report its usage at the
// end, and bounds the completion by the estimate.
func withUsage(body []byte, most int64, stream bool) ([]byte, error) {
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return nil, err
	}
	delete(fields, "n") // completions, of which this gateway counts one
	delete(fields, "max_completion_tokens")
	fields["max_tokens"] = most
	if stream {
		fields["stream_options"] = map[string]bool{"include_usage": true}
	}
	return json.Marshal(fields)
}

// refuse answers with the problem of an error.
func refuse(w http.ResponseWriter, err error) {
	problem := core.ProblemFor(err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	if problem.RetryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(problem.RetryAfter))
	}
	w.WriteHeader(problem.Status)
	_, _ = w.Write(problem.Body())
}
