package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/internal/field"
	"github.com/streamlimit/streamlimit/core/store"
)

// answer sends a value as JSON. It escapes '<' and '>', so that no browser reads a text
// as markup.
func answer(w http.ResponseWriter, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "the response can't be written")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// refuse responds with a problem document.
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", field.ProblemType)
	w.WriteHeader(status)
	_, _ = w.Write(core.Problem{Title: http.StatusText(status), Status: status, Detail: detail}.Body())
}

// fail responds to the limiter's error about an action, with a text for people. After a
// 503, nobody knows whether the action was done. The log has the error itself.
func fail(w http.ResponseWriter, err error) {
	var refused *core.Problem
	switch {
	case errors.As(err, &refused):
		refuse(w, refused.Status, refused.Detail)
	case errors.Is(err, store.ErrTooManyRules):
		refuse(w, http.StatusConflict, fmt.Sprintf("there are %d rules already: end some, or block networks instead of addresses", store.MaxRules))
	case errors.Is(err, store.ErrWrongType):
		refuse(w, http.StatusConflict, "another program uses this key in the store: give one of them a prefix of its own")
	case errors.Is(err, store.ErrRejected):
		refuse(w, http.StatusConflict, "the store failed: the log of this process has the error")
	case errors.Is(err, store.ErrFull):
		refuse(w, http.StatusConflict, "the store in memory has no room for another key: raise its maximum with core.WithMaxKeys")
	case errors.Is(err, core.ErrOverloaded):
		refuse(w, http.StatusServiceUnavailable, "this process is overloaded: check whether the action was done, then try again")
	case errors.Is(err, store.ErrClosed):
		refuse(w, http.StatusServiceUnavailable, "this process is shutting down: use another one")
	default:
		refuse(w, http.StatusServiceUnavailable, "the store does not answer")
	}
}
