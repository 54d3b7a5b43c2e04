package policyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// readTimeout bounds the time to read a file. A local file takes microseconds. A file on
// a network whose server does not answer may take forever.
const readTimeout = 5 * time.Second

var errSlow = fmt.Errorf("not read within %v: is its file system there?", readTimeout)

// source is a file that is read many times. One goroutine at a time may use it.
type source struct {
	path string
	read func(path string) ([]byte, error) // readFile, outside tests

	// pending is the result of a read that has not returned yet. Nothing can cancel such
	// a read, so there is never a second one at the same time.
	pending chan contents
}

type contents struct {
	text []byte
	err  error
}

// look reads the current file. It returns an error after readTimeout, or when stop is
// closed.
func (s *source) look(stop <-chan struct{}) ([]byte, error) {
	timer := time.NewTimer(readTimeout)
	defer timer.Stop()
	late := s.pending != nil
	for {
		if s.pending == nil {
			s.pending = make(chan contents, 1)
			go func(done chan<- contents) {
				text, err := s.read(s.path)
				done <- contents{text, err}
			}(s.pending)
		}
		select {
		case c := <-s.pending:
			s.pending = nil
			if late { // the text may be older than this call
				late = false
				continue
			}
			return c.text, fileError(s.path, c.err)
		case <-timer.C:
			return nil, fileError(s.path, errSlow)
		case <-stop:
			return nil, errClosed
		}
	}
}

// readFile reads at most one byte more than the maximum size. It reads only a regular
// file, since a pipe has no end.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return nil, errors.New("is a directory")
	case !mode.IsRegular():
		return nil, errors.New("is not a regular file: copy what it gives to one, or read it yourself and use Parse")
	}
	f, err := os.Open(path) //nolint:gosec // the program names it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxSize+1))
}

// fileError returns an error that names the path once.
func fileError(path string, err error) error {
	if err == nil {
		return nil
	}
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
		err = failed.Err
	}
	return fmt.Errorf("policyfile: %s: %w", path, err)
}
