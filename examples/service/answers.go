package service

import (
	"context"
	"crypto/subtle"
	"net/http"
	"strconv"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// The functions below return a status and a body for JSON: the arguments of Gin's and
// Echo's c.JSON.

// Message is a plain response.
type Message struct {
	Message   string `json:"message"`
	Remaining *int64 `json:"remaining,omitempty"` // requests left, on routes with a limit
}

// Welcome returns the response of the front page.
func Welcome() (status int, body any) {
	return http.StatusOK, Message{Message: "This is a streamlimit example: try /protected, /strict, /search?q=a, /stocks/AAPL/history or /whoami"}
}

// Admitted returns the response of a limited route, by the decision in the request's
// context.
func Admitted(d core.Decision, _ bool) (status int, body any) {
	return http.StatusOK, Message{Message: "You are within the limit of " + d.Limit.String(), Remaining: &d.Remaining}
}

// HealthReport is the state of the service.
type HealthReport struct {
	Status       string `json:"status"`        // "ok" while the process serves
	Store        string `json:"store"`         // "redis" or "memory"
	StoreAnswers bool   `json:"store_answers"` // false: limits can't be decided
}

// Health returns 200 as long as the process serves. Taking it out of service because
// Redis is down would only make things worse.
func Health(ctx context.Context, limiter *core.Limiter, store string) (status int, body any) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return http.StatusOK, HealthReport{Status: "ok", Store: store, StoreAnswers: limiter.Ping(ctx) == nil}
}

// Login is the body of POST /login.
type Login struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// LogIn accepts the one account, demo with password demo.
func LogIn(l Login) (status int, body any) {
	user := subtle.ConstantTimeCompare([]byte(l.User), []byte("demo"))
	password := subtle.ConstantTimeCompare([]byte(l.Password), []byte("demo"))
	if user&password == 1 {
		return http.StatusOK, Message{Message: "Welcome, " + l.User}
	}
	return refuse(http.StatusUnauthorized, "wrong user or password")
}

// Completion is the body of POST /complete.
type Completion struct {
	Tokens int64 `json:"tokens"` // what the request costs, in units
}

// Completed is the cost of a completion.
type Completed struct {
	Tokens    int64 `json:"tokens"`
	Remaining int64 `json:"remaining"` // tokens left
}

// Complete returns the cost of the request and the rest of the budget.
func Complete(d core.Decision, _ bool) (status int, body any) {
	return http.StatusOK, Completed{Tokens: d.Cost, Remaining: d.Remaining}
}

// Budget is the rest of a client's budget under a policy.
type Budget struct {
	Key        string `json:"key"`
	Policy     string `json:"policy"`
	Limit      int64  `json:"limit"`
	Remaining  int64  `json:"remaining"`
	RetryAfter int64  `json:"retry_after"` // seconds, rounded up; 0 when a request would be admitted now
	ResetAfter int64  `json:"reset_after"` // seconds, rounded up; 0 when nothing was used
	Source     string `json:"source"`      // "redis" or "memory"
}

// WhoAmI returns a peeked decision, or the response to its error.
// setHeader sets a field of the response.
func WhoAmI(setHeader func(name, value string), d core.Decision, err error) (status int, body any) {
	if err != nil {
		return Failed(setHeader, err)
	}
	return http.StatusOK, Budget{
		Key: d.Key, Policy: d.Policy.Name(), Limit: d.Limit.Max, Remaining: d.Remaining,
		RetryAfter: seconds(d.RetryAfter), ResetAfter: seconds(d.ResetAfter), Source: d.Source.String(),
	}
}

func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// Failed returns the response to a request that failed with err, like a limit.
// setHeader sets a field of the response.
func Failed(setHeader func(name, value string), err error) (status int, body any) {
	p := core.ProblemFor(err)
	if p.RetryAfter > 0 {
		setHeader("Retry-After", strconv.FormatInt(p.RetryAfter, 10))
	}
	return p.Status, p
}

func refuse(status int, detail string) (int, any) {
	return status, core.ProblemFor(core.Refuse(status, detail))
}
