package monitor

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
)

// tokenName is the query parameter of the link.
const tokenName = "token"

// cookieName begins the name of the cookie, and the port ends it. Browsers keep
// cookies by host, so two servers on one host would replace each other's.
const cookieName = "streamlimit-monitor-"

// tokens returns the token of a request: from the link, from a cookie, or, for scripts,
// from the Authorization field.
func tokens(r *http.Request) (all []string) {
	if token := linkToken(r); token != "" {
		all = append(all, token)
	}
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, cookieName) {
			all = append(all, c.Value)
		}
	}
	if kind, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(kind, "Bearer") {
		all = append(all, strings.TrimLeft(token, " "))
	}
	return all
}

// linkToken returns the token of the link that the request follows, or "".
func linkToken(r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return ""
	}
	return r.URL.Query().Get(tokenName)
}

// followed reports whether the request follows the link. It then sets the cookie,
// and redirects to the same address without the token.
//
// Neither needs the path of the page, or the address that a proxy sends. A cookie without
// a path applies to the directory of the address that the browser requested. The redirect
// is relative.
func (s *secret) followed(w http.ResponseWriter, r *http.Request) bool {
	token := linkToken(r)
	if !s.is(token) {
		return false
	}
	if r.URL.Path == "" {
		move(w, addSlash) // keep the token: from here the cookie would apply to the directory above
		return true
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where the request is, since plain HTTP would lose it
		Name: cookieName + port(r.Host), Value: token,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: secure(r),
	})
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		// The link was followed from another site's page. A redirect still belongs to the
		// other site's request, so the browser does not send the cookie.
		move(w, dropQuery)
		return true
	}
	query := r.URL.Query()
	query.Del(tokenName)
	to := "./" + r.URL.EscapedPath()[strings.LastIndexByte(r.URL.EscapedPath(), '/')+1:]
	if len(query) > 0 {
		to += "?" + query.Encode()
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
	return true
}

// port returns the port of a Host field, or "".
func port(host string) string {
	_, port, _ := net.SplitHostPort(host)
	for _, c := range port {
		if c < '0' || c > '9' {
			return ""
		}
	}
	return port
}

// secure reports whether the browser uses TLS. A client that forges the fields harms only
// its own cookie.
func secure(r *http.Request) bool {
	return r.TLS != nil || strings.HasPrefix(strings.ToLower(r.Header.Get("X-Forwarded-Proto")), "https") ||
		strings.Contains(strings.ToLower(r.Header.Get("Forwarded")), "proto=https")
}

// Scripts that redirect to the page. A server behind a proxy does not know the name of
// its own directory. A relative redirect from there would need that name.
const (
	addSlash  = `if (!location.pathname.endsWith("/")) location.replace(location.pathname + "/" + location.search + location.hash);`
	dropQuery = `location.replace(location.pathname + location.hash);`
)

// move responds with a page that only runs the script.
func move(w http.ResponseWriter, script string) {
	digest := sha256.Sum256([]byte(script))
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; script-src 'sha256-"+base64.StdEncoding.EncodeToString(digest[:])+"'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	header.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, "<!doctype html><title>Rate limits</title><script>"+script+"</script>"+
		"<p>The page is at this address without a query, and with a slash at the end.\n")
}
