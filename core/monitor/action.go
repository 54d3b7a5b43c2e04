package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/streamlimit/streamlimit/core"
)

// maxBody bounds the body of an action, in bytes.
const maxBody = 4 << 10

// request is the body of an action.
type request struct {
	Policy  string       `json:"policy"`
	Key     string       `json:"key"`
	Seconds float64      `json:"seconds"`
	Limits  []core.Limit `json:"limits"`
	Mode    core.Mode    `json:"mode"`

	counted string // the result of Handler.counted for Key
}

// action responds to a POST: it calls do, and logs the action and the peer that sent it.
// do can replace the key of the request: see counted.
func (h *Handler) action(do func(*http.Request, *request) error) http.Handler {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			refuse(w, http.StatusMethodNotAllowed, "send actions with POST")
			return
		}
		if h.readOnly {
			refuse(w, http.StatusForbidden, "the monitor is read-only")
			return
		}
		// Other sites can send forms, which are not JSON. For other types a browser sends
		// a preflight first.
		if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
			refuse(w, http.StatusUnsupportedMediaType, "the body must be application/json")
			return
		}
		var asked request
		body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		body.DisallowUnknownFields()
		if err := body.Decode(&asked); err != nil {
			refuse(w, http.StatusBadRequest, "the body is not valid: "+err.Error())
			return
		}
		if _, err := body.Token(); !errors.Is(err, io.EOF) {
			refuse(w, http.StatusBadRequest, "the body has data after the JSON")
			return
		}
		asked.counted = h.counted(r.Context(), asked.Key)
		err := do(r, &asked)
		h.forget()
		h.limiter.Seam().Warnings.Logger.Info("streamlimit: monitor", "action", r.URL.Path, "peer", h.peer(r),
			"policy", asked.Policy, "key", asked.counted, "seconds", asked.Seconds, "limits", asked.Limits, "mode", asked.Mode, "error", err)
		if err != nil {
			fail(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusForbidden, "requests from other sites are not allowed")
	}))
	return protection.Handler(handler)
}

// peer returns the name of the client, for the log.
func (h *Handler) peer(r *http.Request) string {
	if h.limiter.Seam().Identity.Hashed {
		return clientOf(h.limiter, r)
	}
	return r.RemoteAddr
}

func (h *Handler) reset(r *http.Request, asked *request) error {
	p, ok := h.policy(r.Context(), asked.Policy)
	if !ok {
		return errNoPolicy
	}
	if asked.Key == "" {
		return errNoKey
	}
	return h.limiter.Reset(r.Context(), p, asked.counted)
}

func (h *Handler) ban(r *http.Request, asked *request) error {
	if asked.Key == "" {
		return errNoKey
	}
	if err := asked.checkSeconds(); err != nil {
		return err
	}
	return h.limiter.Ban(r.Context(), asked.counted, time.Duration(asked.Seconds*float64(time.Second)))
}

const maxBan = 365 * 24 * time.Hour

func (r *request) checkSeconds() error {
	if !(r.Seconds >= 0.001 && r.Seconds <= maxBan.Seconds()) {
		return core.Refuse(http.StatusBadRequest, "seconds must be from 0.001 to 31536000, a year")
	}
	return nil
}

// ending returns the end, by the store's clock, of a rule that lasts for that many
// seconds. For 0 the rule has no end.
func (h *Handler) ending(ctx context.Context, asked *request) (time.Time, error) {
	if asked.Seconds == 0 {
		return time.Time{}, nil
	}
	if err := asked.checkSeconds(); err != nil {
		return time.Time{}, err
	}
	now, err := h.limiter.Now(ctx)
	return now.Add(time.Duration(asked.Seconds * float64(time.Second))), err
}

func (h *Handler) unban(r *http.Request, asked *request) error {
	if asked.Key == "" {
		return errNoKey
	}
	found, err := h.limiter.Unban(r.Context(), asked.counted)
	if err == nil && !found && asked.Key != asked.counted {
		found, err = h.limiter.Unban(r.Context(), asked.Key) // a program has banned the address itself
	}
	if err == nil && !found {
		return core.Refuse(http.StatusNotFound, "the key is not banned")
	}
	return err
}

func (h *Handler) override(r *http.Request, asked *request) error {
	p, ok := h.policy(r.Context(), asked.Policy)
	if !ok {
		return errNoPolicy
	}
	options := make([]core.PolicyOption, len(asked.Limits))
	for i, l := range asked.Limits {
		options[i] = l
	}
	if len(options) == 0 {
		return core.Refuse(http.StatusBadRequest, `limits is missing: send limits such as ["5/second"]`)
	}
	if _, err := p.With(options...); err != nil {
		return core.Refuse(http.StatusBadRequest, err.Error())
	}
	return h.limiter.SetRule(r.Context(), core.Rule{Kind: core.RuleOverride, Policy: asked.Policy, Limits: asked.Limits})
}

func (h *Handler) restore(r *http.Request, asked *request) error {
	if asked.Policy == "" {
		return errNoPolicy
	}
	found, err := h.limiter.DeleteRule(r.Context(), core.Rule{Kind: core.RuleOverride, Policy: asked.Policy}.ID())
	if err == nil && !found {
		return core.Refuse(http.StatusNotFound, "the policy's limits are not overridden")
	}
	return err
}

// switchTo switches a policy, or "*" for all policies, to a mode. The switch ends after
// some seconds, or has no end.
func (h *Handler) switchTo(r *http.Request, asked *request) error {
	switch asked.Mode {
	case core.ModeOn, core.ModeShadow, core.ModeOff:
	default:
		return core.Refuse(http.StatusBadRequest, `mode is "on", "shadow" or "off"`)
	}
	if asked.Policy != core.AllPolicies {
		if _, ok := h.policy(r.Context(), asked.Policy); !ok && asked.Mode != core.ModeOn {
			return errNoPolicy
		}
	}
	rule := core.Rule{Kind: core.RuleSwitch, Policy: asked.Policy, Mode: asked.Mode}
	if asked.Mode == core.ModeOn {
		found, err := h.limiter.DeleteRule(r.Context(), rule.ID())
		if err == nil && !found {
			return core.Refuse(http.StatusNotFound, "the policy is not switched")
		}
		return err
	}
	until, err := h.ending(r.Context(), asked)
	if err != nil {
		return err
	}
	rule.Until = until
	return h.limiter.SetRule(r.Context(), rule)
}

var (
	errNoPolicy = core.Refuse(http.StatusNotFound, "no process has published this policy")
	errNoKey    = core.Refuse(http.StatusBadRequest, "key is missing")
)
