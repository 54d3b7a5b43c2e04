package service

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/streamlimit/streamlimit/core"
)

// maxBody bounds the request bodies of the service, in bytes.
const maxBody = 4096

// Decode reads a request's JSON body. The error is for [Failed]: 400 for a body that is
// not the JSON of a T, and 413 for a body of more than 4 kB.
func Decode[T any](body io.Reader) (T, error) {
	var value, none T
	text, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err != nil {
		return none, core.Refuse(http.StatusBadRequest, "the body ends too early")
	}
	if len(text) > maxBody {
		return none, core.Refuse(http.StatusRequestEntityTooLarge, "the body is larger than 4 kB")
	}
	if err := json.Unmarshal(text, &value); err != nil {
		detail := "the body is not valid JSON"
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			detail = "the body's " + wrong.Field + " is a JSON " + wrong.Value
			if wrong.Field == "" {
				detail = "the body is a JSON " + wrong.Value + ", not an object"
			}
		}
		return none, core.Refuse(http.StatusBadRequest, detail)
	}
	return value, nil
}
