package monitor

import (
	"net/http"
	"net/netip"

	"github.com/streamlimit/streamlimit/core"
)

// block, exempt and what ends them are about the client in key: an address or a network
// is matched with the addresses of requests, and anything else with keys.

func (h *Handler) block(r *http.Request, asked *request) error {
	return h.setClient(r, core.RuleBlock, asked)
}

func (h *Handler) exempt(r *http.Request, asked *request) error {
	return h.setClient(r, core.RuleExempt, asked)
}

func (h *Handler) unblock(r *http.Request, asked *request) error {
	return h.endClient(r, core.RuleBlock, asked)
}

func (h *Handler) unexempt(r *http.Request, asked *request) error {
	return h.endClient(r, core.RuleExempt, asked)
}

// setClient makes a rule for as many seconds as are asked, or without end for 0.
func (h *Handler) setClient(r *http.Request, kind core.RuleKind, asked *request) error {
	if asked.Key == "" {
		return errNoKey
	}
	rule := clientRule(kind, asked.Key)
	var err error
	if rule.Until, err = h.ending(r.Context(), asked); err != nil {
		return err
	}
	return h.limiter.SetRule(r.Context(), rule)
}

func (h *Handler) endClient(r *http.Request, kind core.RuleKind, asked *request) error {
	if asked.Key == "" {
		return errNoKey
	}
	// A rule that a program has made can be about an address as a key.
	for _, rule := range []core.Rule{clientRule(kind, asked.Key), {Kind: kind, Key: asked.Key}} {
		if found, err := h.limiter.DeleteRule(r.Context(), rule.ID()); err != nil || found {
			return err
		}
	}
	return core.Refuse(http.StatusNotFound, "no such rule is in force")
}

// clientRule is a rule about a key, an address or a network.
func clientRule(kind core.RuleKind, client string) core.Rule {
	if network, err := netip.ParsePrefix(client); err == nil {
		return core.Rule{Kind: kind, Network: network}
	}
	if addr, err := netip.ParseAddr(client); err == nil {
		return core.Rule{Kind: kind, Network: netip.PrefixFrom(addr.WithZone(""), addr.BitLen())}
	}
	return core.Rule{Kind: kind, Key: client}
}
