package adapter

import (
	"net/http"
	"slices"
	"testing"
)

// A header that code has filled in by hand can have names in any case.
func TestValues(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		want   []string
	}{
		"as a server has it": {http.Header{"X-Api-Key": {"a", "b"}}, []string{"a", "b"}},
		"in lower case":      {http.Header{"x-api-key": {"a", "b"}, "X-Api": {"c"}}, []string{"a", "b"}},
		"in both":            {http.Header{"x-api-key": {"a"}, "X-Api-Key": {"b"}}, []string{"b"}},
		"another field":      {http.Header{"X-Api-Keys": {"a"}}, nil},
		"none":               {nil, nil},
	} {
		if got := Values(c.header, "X-Api-Key"); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
