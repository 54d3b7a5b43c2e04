package policyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/streamlimit/streamlimit/core"
)

// MaxSize is how many bytes a file may have: 1 MiB.
const MaxSize = 1 << 20

// Read makes the policies that the file at path names, in its order; the package
// documentation has the format. With known policies, they are changes to those
// of the same names, and other names are errors.
//
// It panics on a nil policy.
func Read(path string, known ...*core.Policy) ([]*core.Policy, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text, known...)
}

// Parse is as [Read] for text that comes from elsewhere. Its errors begin with
// name, such as a path.
func Parse(name string, text []byte, known ...*core.Policy) ([]*core.Policy, error) {
	r := newReader(name, known)
	pairs, err := r.policyPairs(text)
	if err != nil {
		return nil, err
	}
	policies := make([]*core.Policy, 0, len(pairs))
	for _, p := range pairs {
		policy, err := r.policy(p)
		if err != nil {
			return nil, err
		}
		policies = append(policies, policy)
	}
	return policies, nil
}

// readFile reads no more than shows that a file is too large.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	return text, fileError(path, err)
}

// fileError names the path once.
func fileError(path string, err error) error {
	if err == nil {
		return nil
	}
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
		err = failed.Err
	}
	return fmt.Errorf("policyfile: %s: %w", path, err)
}
