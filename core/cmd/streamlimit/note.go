package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"

	"github.com/streamlimit/streamlimit/core"
)

const keyHint = "Keys are as decisions show them, such as x-api-key=<digest>, which streamlimit digest makes, or address=<digest> where a service has core.WithHashedAddresses, which the monitor finds by the address; a service with a prefix needs -prefix."

// noteEmpty notes that a key has no log, since it may be counted in another form. It
// writes nothing about a log that can't be read.
func noteEmpty(ctx context.Context, s streams, limiter *core.Limiter, p *core.Policy, key string) {
	if entries, err := limiter.Entries(ctx, p, key, 1); err == nil && len(entries) == 0 {
		nothing := "nothing in its log"
		if p.Concurrency() {
			nothing = "no slot"
		}
		fmt.Fprintln(s.err, told(key, "has %s of %s. %s", nothing, p.Name(), keyHint))
	}
}

// hashed matches the part of a key after the name of a credential.
var hashed = regexp.MustCompile(`^[0-9a-f]{32}$`)

// joined matches the start of a key of several parts: the length of the first part.
var joined = regexp.MustCompile(`^[0-9]+:`)

// noteForm warns if a key looks like a credential in plain text, since adapters count by
// the digest.
func noteForm(notes io.Writer, key string) {
	name, value, named := strings.Cut(key, "=")
	_, notAddress := netip.ParseAddr(key)
	_, notNetwork := netip.ParsePrefix(key)
	switch {
	case joined.MatchString(key):
		return
	case named && (name == "bearer" || name == "basic" || name == "address" || strings.HasPrefix(name, "x-")):
		if hashed.MatchString(value) {
			return
		}
	case named, notAddress == nil, notNetwork == nil:
		return
	}
	fmt.Fprintln(notes, "Is that a credential in plain text? Then no request is counted by it, and no client is banned: make its key with streamlimit digest, and unban this one. "+
		"A key without a name, of ByConstant or of your own, is right as it is.")
}

// noteUnknown warns if processes have reported other policies, but not the policy of a
// rule.
func noteUnknown(notes io.Writer, name, rule string, others []string) {
	fmt.Fprintf(notes, "No process has published a policy %q within the last hour (%s): the %s waits for one.\n", name, list(others), rule)
}
