package monitor

import "net/http"

// admits reports whether the request is allowed. It responds to a request that is not.
func (h *Handler) admits(w http.ResponseWriter, r *http.Request) bool {
	if h.secret != nil && !h.secret.admits(w, r) {
		return false
	}
	if h.may != nil && !h.may(r) {
		refuse(w, http.StatusForbidden, "access to the monitor is denied")
		return false
	}
	return true
}
