package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

var blockCommand = command{
	name:  "block",
	about: "denies a network or a key everything, until it is ended",
	help: `
All policies deny the client, in all processes within a second. A network matches the
addresses of requests, whatever they are counted by. An address is a network of one
address. The block replaces an earlier block of the same network or key.

	streamlimit block -network 198.51.100.0/24
	streamlimit block -key x-api-key=5f2b0c9ad4e17c38a5b0c1d2e3f40516 -for 1h
	streamlimit rules -delete "block network 198.51.100.0/24"`,
	flags: clientFlags(core.RuleBlock, "is blocked"),
}

var exemptCommand = command{
	name:  "exempt",
	about: "lets a network or a key pass uncounted, until it is ended",
	help: `
No policy limits the client, in all processes within a second. A network matches the
addresses of requests, whatever they are counted by. An address is a network of one
address. A block or a ban of the same client takes precedence.

	streamlimit exempt -network 203.0.113.0/28 -for 2h
	streamlimit rules -delete "exempt network 203.0.113.0/28"`,
	flags: clientFlags(core.RuleExempt, "is exempt"),
}

// clientFlags has the flags of a command that makes a rule about a client.
func clientFlags(kind core.RuleKind, done string) func(*flag.FlagSet) action {
	return func(f *flag.FlagSet) action {
		t, key := targetFlags(f), keyFlag(f)
		network := f.String("network", "", "the `network` or address, such as 198.51.100.0/24")
		length := f.Duration("for", 0, "how long, such as 10m; without it, until it is ended")
		return func(ctx context.Context, s streams) error {
			rule, err := clientRule(kind, *key, *network)
			if err != nil {
				return err
			}
			if *length != 0 && *length < time.Millisecond {
				return usage("-for is %v: it must be 1ms at least", *length)
			}
			limiter, _, err := t.limiter(ctx)
			if err != nil {
				return err
			}
			defer limiter.Close()
			if rule.Until, err = ending(ctx, limiter, *length); err != nil {
				return err
			}
			if err := limiter.SetRule(ctx, rule); err != nil {
				return err
			}
			if t.json {
				return writeJSON(s.out, monitor.ShowRule(rule))
			}
			words := about(rule, false) + " " + done
			if !rule.Until.IsZero() {
				words += " until " + moment(rule.Until)
			}
			_, err = fmt.Fprintf(s.out, "%s. To end it: streamlimit rules -delete %q\n", words, clean(rule.ID()))
			return err
		}
	}
}

func clientRule(kind core.RuleKind, key, network string) (core.Rule, error) {
	rule := core.Rule{Kind: kind, Key: key}
	switch {
	case (key == "") == (network == ""):
		return rule, usage("give one of -network and -key")
	case network != "":
		prefix, err := parseNetwork(network)
		if err != nil {
			return rule, usage("-network: %v: write it as 198.51.100.0/24", err)
		}
		rule.Network = prefix
	}
	return rule, nil
}

// parseNetwork reads a network. It reads an address as a network of one address.
func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr.WithZone(""), addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err
}
