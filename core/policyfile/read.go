package policyfile

import "github.com/streamlimit/streamlimit/core"

// MaxSize is the maximum size of a file in bytes: 1 MiB.
const MaxSize = 1 << 20

// Read returns the policies that the file at path names, in its order. The package
// documentation describes the format. With known policies, the file changes the policies
// of the same names, and other names are errors. The file must be a regular one. Read
// returns an error if reading takes more than 5 seconds.
//
// It panics on a nil policy.
func Read(path string, known ...*core.Policy) ([]*core.Policy, error) {
	text, err := (&source{path: path, read: readFile}).look(nil)
	if err != nil {
		return nil, err
	}
	return Parse(path, text, known...)
}

// Parse is like [Read], but reads text. Its errors begin with name, such as a path.
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
