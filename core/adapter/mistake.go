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

// blame returns the error of a function that finds a key or a cost. When the
// client has made a mistake that the function has found by reading the request, it
// adds a [core.Problem] with the status for it. Errors that have a status of
// their own, and errors that the framework answers, stay as they are.
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

// mistake returns the answer to a client's mistake, or 0 when err is not one.
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
	// The body has ended, unless it is a connection to another service that has.
	case (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) && !errors.As(err, &network):
	default:
		return 0, ""
	}
	return http.StatusBadRequest, "the request is malformed"
}
