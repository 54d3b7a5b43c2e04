package faults

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// attacks are texts that a page or a header must not show as they are.
var attacks = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `';alert(1)//`, `</title><svg onload=alert(1)>`,
	`javascript:alert(1)`, `{{constructor.constructor('alert(1)')()}}`, "\u202e<b>x</b>", `%3Cscript%3Ealert(1)%3C/script%3E`,
	"x%0d%0aSet-Cookie:%20a=b", `<!--#exec cmd="id"-->`, `<b a="` + strings.Repeat("x", 500) + `">`,
}

// What clients send comes back as markup in no answer, of the service or of its
// monitor. The monitor lets in nobody without its password, nor another site.
func TestRow28_MonitorAttacked(t *testing.T) {
	t.Parallel()
	r := row(t, 28)
	client := &http.Client{Transport: &http.Transport{}, Timeout: program.Timeout}
	answers := 0
	for _, framework := range program.Servers {
		t.Run(framework, func(t *testing.T) {
			server := program.Start(t, framework, "TRUSTED_PROXIES=127.0.0.0/8", "MONITOR_PASSWORD="+monitorPassword)
			defer client.CloseIdleConnections()
			for i, attack := range attacks {
				for _, req := range attackRequests(t.Context(), server.URL, attack, fmt.Sprintf("198.51.100.%d", i)) {
					// The last ones are denials.
					for range 7 {
						inert(t, client, req, attack)
						answers++
					}
				}
			}
			for i, attack := range attacks {
				for _, req := range monitorRequests(t.Context(), server.URL, attack, fmt.Sprintf("198.51.100.%d", i)) {
					inert(t, client, req, attack)
					answers++
				}
			}
			for _, path := range []string{"/ratelimit/", "/ratelimit/app.js", "/ratelimit/api/state", "/ratelimit/api/live", "/ratelimit/api/reset", "/ratelimit/api/none", "/ratelimit/../ratelimit/"} {
				for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodOptions} {
					kept(t, client, method, server.URL+path, "", http.StatusUnauthorized)
					answers++
				}
			}
			for _, action := range []string{"reset", "ban", "unban", "override", "restore"} {
				kept(t, client, http.MethodPost, server.URL+"/ratelimit/api/"+action, monitorPassword, http.StatusForbidden)
				answers++
			}
		})
	}
	r.Figure("0 bypasses in %d answers: inert, 403, 401", answers)
}

// attackRequests carry the text wherever a client can put one.
func attackRequests(ctx context.Context, base, attack, address string) (all []*http.Request) {
	add := func(method, path, body string, fields map[string]string) {
		req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
		if err != nil {
			panic(err)
		}
		req.Header.Set("X-Forwarded-For", address)
		for name, value := range fields {
			req.Header.Set(name, value)
		}
		all = append(all, req)
	}
	path, query := url.PathEscape(attack), url.QueryEscape(attack)
	add("GET", "/search?q="+query, "", nil)
	add("GET", "/"+path, "", nil)
	add("GET", "/strict?"+query, "", map[string]string{"Referer": attack, "User-Agent": attack, "Origin": attack, "X-Forwarded-For": attack})
	add("GET", "/whoami", "", map[string]string{"X-Forwarded-For": attack, "Forwarded": "for=" + attack})
	add("GET", "/stocks/"+path+"/history", "", map[string]string{"X-API-Key": attack})
	add("GET", "/stocks/AAPL/history", "", map[string]string{"X-API-Key": attack})
	add("POST", "/login", fmt.Sprintf(`{"user":%q,"password":"?"}`, attack), map[string]string{"Content-Type": "application/json"})
	add("POST", "/login", attack, map[string]string{"Content-Type": "text/html"})
	add("POST", "/complete", fmt.Sprintf(`{"tokens":%q}`, attack), map[string]string{"X-API-Key": attack})
	return all
}

// inert checks that an answer can't be taken for a page, and has nothing of the
// attack in its header.
func inert(t *testing.T, client *http.Client, req *http.Request, attack string) {
	t.Helper()
	again := req.Clone(req.Context())
	again.Body, _ = req.GetBody()
	resp, err := client.Do(again)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := url.QueryUnescape(attack)
	if kind := resp.Header.Get("Content-Type"); strings.Contains(kind, "html") || strings.ContainsAny(string(body), "<>") {
		t.Errorf("%s %s: status %d, %s: %.200s", req.Method, req.URL, resp.StatusCode, kind, body)
	}
	for name, values := range resp.Header {
		for _, value := range values {
			if strings.Contains(value, attack) || strings.Contains(value, plain) || strings.ContainsAny(value, "<>") || name == "Set-Cookie" {
				t.Errorf("%s %s: %s: %s", req.Method, req.URL, name, value)
			}
		}
	}
	if resp.StatusCode >= 500 {
		t.Errorf("%s %s: status %d", req.Method, req.URL, resp.StatusCode)
	}
}

const monitorPassword = "of the monitor"

// monitorRequests ask the monitor for what clients have sent.
func monitorRequests(ctx context.Context, base, attack, address string) (all []*http.Request) {
	query := url.QueryEscape(attack)
	for _, path := range []string{
		"api/state", "api/history?minutes=5", "api/live?poll=1", "api/search?q=", "api/search?q=" + query,
		"api/key?policy=strict&key=" + address, "api/key?policy=strict&key=" + query, "api/key?policy=" + query + "&key=" + query,
		"api/" + url.PathEscape(attack), url.PathEscape(attack),
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/ratelimit/"+path, strings.NewReader(""))
		if err != nil {
			panic(err)
		}
		req.SetBasicAuth("any", monitorPassword)
		all = append(all, req)
	}
	return all
}

// kept checks that another site is kept out, with the password that a browser would
// add or without.
func kept(t *testing.T, client *http.Client, method, address, password string, status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(`{"key":"k","policy":"strict","seconds":1,"limits":["1/s"]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://attacker.example")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	req.Header.Set("Content-Type", "application/json")
	if password != "" {
		req.SetBasicAuth("any", password)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != status || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%s %s: status %d, want %d; header %v", method, address, resp.StatusCode, status, resp.Header)
	}
}
