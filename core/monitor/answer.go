package monitor

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/streamlimit/streamlimit/core"
)

// answer sends a value as JSON, with '<' and '>' escaped, so that no text in it is
// markup to anyone.
func answer(w http.ResponseWriter, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "the answer can't be written")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// refuse answers with a problem document.
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", core.ProblemContentType)
	w.WriteHeader(status)
	_, _ = w.Write(core.Problem{Title: http.StatusText(status), Status: status, Detail: detail}.Body())
}

// fail answers for the limiter's error.
func fail(w http.ResponseWriter, err error) {
	var refused *core.RequestError
	switch {
	case errors.As(err, &refused):
		refuse(w, refused.Status, refused.Detail)
	default:
		refuse(w, http.StatusServiceUnavailable, err.Error())
	}
}
