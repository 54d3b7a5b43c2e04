package monitor

import (
	"net/http"
	"net/netip"

	"github.com/streamlimit/streamlimit/core"
)

// block, exempt and the actions that end them concern the client in key. An address or a
// network matches the addresses of requests. Any other text matches keys.

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

// setClient sets a rule for the seconds in the request, or without an end for 0.
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
	// A program may have made the rule for an address as a key.
	for _, rule := range []core.Rule{clientRule(kind, asked.Key), {Kind: kind, Key: asked.Key}} {
		if found, err := h.limiter.DeleteRule(r.Context(), rule.ID()); err != nil || found {
			return err
		}
	}
	return core.Refuse(http.StatusNotFound, "no such rule is in force")
}

// clientRule returns a rule for a key, an address or a network.
func clientRule(kind core.RuleKind, client string) core.Rule {
	if network, err := netip.ParsePrefix(client); err == nil {
		return core.Rule{Kind: kind, Network: network}
	}
	if addr, err := netip.ParseAddr(client); err == nil {
		return core.Rule{Kind: kind, Network: netip.PrefixFrom(addr.WithZone(""), addr.BitLen())}
	}
	return core.Rule{Kind: kind, Key: client}
}
