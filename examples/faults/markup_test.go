package faults

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// markups are texts that a page or a header must escape.
var markups = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `';alert(1)//`, `</title><svg onload=alert(1)>`,
	`javascript:alert(1)`, `{{constructor.constructor('alert(1)')()}}`, "\u202e<b>x</b>", `%3Cscript%3Ealert(1)%3C/script%3E`,
	"x%0d%0aSet-Cookie:%20a=b", `<!--#exec cmd="id"-->`, `<b a="` + strings.Repeat("x", 500) + `">`,
}

// markup sends the texts to the service, and reads them from its monitor. No response may
// have markup. It returns the number of responses.
func markup(t *testing.T, client *http.Client, base string, login func(*http.Request)) (answers int) {
	t.Helper()
	for i, text := range markups {
		address := fmt.Sprintf("198.51.100.%d", i)
		for _, req := range markupRequests(t.Context(), base, text, address) {
			for range 7 { // the last ones are denied
				inert(t, client, req, text)
				answers++
			}
		}
	}
	for i, text := range markups {
		for _, req := range monitorRequests(t.Context(), base, text, fmt.Sprintf("198.51.100.%d", i)) {
			login(req)
			inert(t, client, req, text)
			answers++
		}
	}
	return answers
}

// markupRequests have the text in every place that a client can set.
func markupRequests(ctx context.Context, base, text, address string) (all []*http.Request) {
	add := func(method, path, body string, fields map[string]string) {
		req := newRequest(ctx, method, base+path, body)
		req.Header.Set("X-Forwarded-For", address)
		for name, value := range fields {
			req.Header.Set(name, value)
		}
		all = append(all, req)
	}
	path, query := url.PathEscape(text), url.QueryEscape(text)
	add("GET", "/search?q="+query, "", nil)
	add("GET", "/"+path, "", nil)
	add("GET", "/strict?"+query, "", map[string]string{"Referer": text, "User-Agent": text, "Origin": text, "X-Forwarded-For": text})
	add("GET", "/whoami", "", map[string]string{"X-Forwarded-For": text, "Forwarded": "for=" + text})
	add("GET", "/stocks/"+path+"/history", "", map[string]string{"X-API-Key": text})
	add("GET", "/stocks/AAPL/history", "", map[string]string{"X-API-Key": text})
	add("POST", "/login", fmt.Sprintf(`{"user":%q,"password":"?"}`, text), map[string]string{"Content-Type": "application/json"})
	add("POST", "/login", text, map[string]string{"Content-Type": "text/html"})
	add("POST", "/complete", fmt.Sprintf(`{"tokens":%q}`, text), map[string]string{"X-API-Key": text})
	return all
}

// monitorRequests read the texts of clients from the monitor.
func monitorRequests(ctx context.Context, base, text, address string) (all []*http.Request) {
	query := url.QueryEscape(text)
	for _, path := range []string{
		"api/state", "api/history?minutes=5", "api/live?poll=1", "api/search?q=", "api/search?q=" + query,
		"api/key?policy=strict&key=" + address, "api/key?policy=strict&key=" + query, "api/key?policy=" + query + "&key=" + query,
		"api/" + url.PathEscape(text), url.PathEscape(text),
	} {
		all = append(all, newRequest(ctx, "GET", base+"/ratelimit/"+path, ""))
	}
	return all
}

func newRequest(ctx context.Context, method, url, body string) *http.Request {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	return req
}

// inert checks that a response can't be read as a page, and does not have the text in its
// header.
func inert(t *testing.T, client *http.Client, req *http.Request, text string) {
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
	plain, _ := url.QueryUnescape(text)
	if kind := resp.Header.Get("Content-Type"); strings.Contains(kind, "html") || strings.ContainsAny(string(body), "<>") {
		t.Errorf("%s %s: status %d, %s: %.200s", req.Method, req.URL, resp.StatusCode, kind, body)
	}
	for name, values := range resp.Header {
		for _, value := range values {
			if strings.Contains(value, text) || strings.Contains(value, plain) || strings.ContainsAny(value, "<>") || name == "Set-Cookie" {
				t.Errorf("%s %s: %s: %s", req.Method, req.URL, name, value)
			}
		}
	}
	if resp.StatusCode >= 500 {
		t.Errorf("%s %s: status %d", req.Method, req.URL, resp.StatusCode)
	}
}
