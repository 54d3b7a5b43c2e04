package monitor

import "net/http"

// admits reports whether the request may go on. It responds to those that may not.
func (h *Handler) admits(w http.ResponseWriter, r *http.Request) bool {
	if h.secret != nil && !h.secret.admits(w, r) {
		return false
	}
	if h.may != nil && !h.may(r) {
		refuse(w, http.StatusForbidden, "you may not see the monitor")
		return false
	}
	return true
}
