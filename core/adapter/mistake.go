package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/streamlimit/streamlimit/core"
)

// blame returns the error of a function that finds a key or a cost. If the client made a
// mistake that the function found while it read the request, blame adds a [core.Problem]
// with the status for it. It does not change errors with a status of their own, and
// errors that the framework answers.
func (f Framework[C]) blame(c C, err error) error {
	var refused *core.Problem
	if errors.As(err, &refused) || errors.Is(err, core.ErrNoKey) || f.Owns(c, err) {
		return err
	}
	if status, detail := f.mistake(err); status != 0 {
		return fmt.Errorf("%w: %w", core.Refuse(status, detail), err)
	}
	return err
}

// mistake returns the response to a client's mistake, or 0 if err is not a mistake.
func (f Framework[C]) mistake(err error) (status int, detail string) {
	var (
		tooLarge *http.MaxBytesError
		syntax   *json.SyntaxError
		kind     *json.UnmarshalTypeError
		network  net.Error
	)
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, "the request body is too large"
	case errors.As(err, &syntax), errors.As(err, &kind), f.Malformed != nil && f.Malformed(err):
	// The request body has ended early, unless it was a connection to another service.
	case (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) && !errors.As(err, &network):
	default:
		return 0, ""
	}
	return http.StatusBadRequest, "the request is malformed"
}
