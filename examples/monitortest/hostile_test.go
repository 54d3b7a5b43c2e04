package monitortest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

const ban = `{"key":"127.0.0.1","seconds":600}`

// post returns the request of an action without the fields that it needs.
func post(action, body string, fields ...string) string {
	return "POST MOUNTapi/" + action + " HTTP/1.1\nHost: HOST\n" + strings.Join(fields, "\n") + "\n\n" + body
}

func view(path string, fields ...string) string {
	return "GET MOUNT" + path + " HTTP/1.1\nHost: HOST\n" + strings.Join(fields, "\n") + "\n\n"
}

const (
	asJSON     = "Content-Type: application/json"
	sameOrigin = "Origin: http://HOST\nSec-Fetch-Site: same-origin\nSec-Fetch-Mode: cors"
)

// hostile are requests that must get no access: of clients without the secret, and of
// other sites in a browser with the secret (COOKIE).
var hostile = map[string]string{
	"page":                    view(""),
	"page, HTTP/1.0":          "GET MOUNT HTTP/1.0\n\n",
	"page, HTTP/1.0 to here":  "GET MOUNT HTTP/1.0\nHost: localhost\n\n",
	"script":                  view("app.js"),
	"file by range":           view("app.js", "Range: bytes=0-9"),
	"file if changed":         view("style.css", "If-None-Match: *"),
	"state":                   view("api/state"),
	"state, HTTP/1.0":         "GET MOUNTapi/state HTTP/1.0\nConnection: keep-alive\n\n",
	"history":                 view("api/history?minutes=5"),
	"stream":                  view("api/live", "Accept: text/event-stream"),
	"stream as websocket":     view("api/live", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
	"poll":                    view("api/live?poll=1"),
	"key":                     view("api/key?policy=strict&key=127.0.0.1"),
	"search":                  view("api/search?q="),
	"head":                    "HEAD MOUNTapi/state HTTP/1.1\nHost: HOST\n\n",
	"options":                 "OPTIONS MOUNTapi/ban HTTP/1.1\nHost: HOST\nOrigin: http://attacker.example\nAccess-Control-Request-Method: POST\nAccess-Control-Request-Headers: content-type\n\n",
	"preflight with cookie":   "OPTIONS MOUNTapi/ban HTTP/1.1\nHost: HOST\nOrigin: http://attacker.example\nAccess-Control-Request-Method: POST\nCOOKIE\n\n",
	"trace":                   "TRACE MOUNT HTTP/1.1\nHost: HOST\n\n",
	"absolute form":           "GET http://localhostMOUNTapi/state HTTP/1.1\nHost: HOST\n\n",
	"host is localhost":       "GET MOUNTapi/state HTTP/1.1\nHost: localhost\n\n",
	"host is the service":     "GET MOUNTapi/state HTTP/1.1\nHost: UPSTREAM\n\n",
	"host is ::1":             "GET MOUNTapi/state HTTP/1.1\nHost: [::1]\n\n",
	"host is ::1 with a zone": "GET MOUNTapi/state HTTP/1.1\nHost: [::1%25eth0]\n\n",
	"host is missing":         "GET MOUNTapi/state HTTP/1.1\n\n",
	"two hosts":               "GET MOUNTapi/state HTTP/1.1\nHost: HOST\nHost: localhost\n\n",
	"forwarded for loopback":  view("api/state", "X-Forwarded-For: 127.0.0.1"),
	"forwarded for ::1":       view("api/state", "X-Forwarded-For: ::1", "X-Forwarded-Host: localhost", "X-Forwarded-Proto: https"),
	"forwarded for nothing":   view("api/state", "X-Forwarded-For:"),
	"forwarded, RFC 7239":     view("api/state", `Forwarded: for="[::1]";host=localhost;by=127.0.0.1`),
	"real address":            view("api/state", "X-Real-IP: 127.0.0.1", "X-Client-IP: 127.0.0.1", "True-Client-IP: 127.0.0.1", "CF-Connecting-IP: 127.0.0.1"),
	"fields of the hop":       view("api/state", "Connection: close, X-Forwarded-For, Forwarded, X-Real-IP, Authorization, Cookie"),
	"other address inside":    view("none", "X-Original-URL: MOUNTapi/state", "X-Rewrite-URL: MOUNTapi/state"),
	"user of a proxy":         view("api/state", "X-Forwarded-User: admin", "Remote-User: admin", "X-Auth-Request-User: admin"),
	"rebinding, view":         "GET MOUNTapi/state HTTP/1.1\nHost: attacker.example\nOrigin: http://attacker.example\nSec-Fetch-Site: same-origin\n\n",
	"rebinding, ban":          "POST MOUNTapi/ban HTTP/1.1\nHost: attacker.example\nOrigin: http://attacker.example\nSec-Fetch-Site: same-origin\n" + asJSON + "\n\n" + ban,
	"two slashes":             view("/api/state"),
	"dots":                    view("x/../api/state"),
	"dots, escaped":           view("%2e/api/%2e%2e/api/state"),
	"slash, escaped":          view("api%2fstate"),
	"upper case":              view("API/STATE"),
	"semicolon":               view("api/state;a=b"),
	"end of string":           view("api/state%00.css"),
	"looks like a file":       view("api/state/x.css"),
	"no token":                view("?token="),
	"wrong token":             view("?token=AAAAAAAAAAAAAAAAAAAAAAAAAA"),
	"token in lower case":     view("?token=LOWER"),
	"token cut":               view("?token=CUT"),
	"two tokens":              view("?token=AAAA&token=CUT"),
	"long token":              view("?token=" + strings.Repeat("A", 4000)),
	"empty cookie":            view("api/state", "Cookie: streamlimit-monitor-=; streamlimit-monitor-8080="),
	"wrong cookie":            view("api/state", "Cookie: streamlimit-monitor-=AAAAAAAAAAAAAAAAAAAAAAAAAA"),
	"many cookies":            view("api/state", "Cookie: "+strings.Repeat("streamlimit-monitor-=A; ", 200)),
	"cookie of a guess":       view("api/state", "Cookie: streamlimit-monitor-=CUT"),
	"no password":             view("api/state", "Authorization: Basic Og=="),
	"guessed password":        view("api/state", "Authorization: Basic YWRtaW46YWRtaW4="),
	"no bearer":               view("api/state", "Authorization: Bearer"),
	"wrong bearer":            view("api/state", "Authorization: Bearer CUT"),
	"other scheme":            view("api/state", `Authorization: Digest username="admin", response=""`),
	"ban":                     post("ban", ban, asJSON),
	"ban as if from the page": post("ban", ban, asJSON, sameOrigin),
	"ban by form":             post("ban", "key=127.0.0.1&seconds=600", "Content-Type: application/x-www-form-urlencoded"),
	"ban, HTTP/1.0":           "POST MOUNTapi/ban HTTP/1.0\n" + asJSON + "\n\n" + ban,
	"ban in chunks":           post("ban", fmt.Sprintf("%x\n%s\n0\n\n", len(ban), ban), asJSON, "Transfer-Encoding: chunked"),
	"ban with two lengths":    post("ban", "0\n\nPOST MOUNTapi/ban HTTP/1.1\nHost: HOST\n\n", asJSON, "Transfer-Encoding: chunked", "Content-Length: 4"),
	"ban, method in a field":  "GET MOUNTapi/ban HTTP/1.1\nHost: HOST\nX-HTTP-Method-Override: POST\n" + asJSON + "\n\n" + ban,
	"ban with wrong token":    "POST MOUNTapi/ban?token=CUT HTTP/1.1\nHost: HOST\n" + asJSON + "\n\n" + ban,
	"unban":                   post("unban", `{"key":"127.0.0.1"}`, asJSON),
	"override":                post("override", `{"policy":"strict","limits":["1000000/second"]}`, asJSON),
	"restore":                 post("restore", `{"policy":"strict"}`, asJSON),
	"reset":                   post("reset", `{"policy":"strict","key":"127.0.0.1"}`, asJSON),

	"other site":            post("ban", ban, asJSON, "COOKIE", "Origin: http://attacker.example", "Sec-Fetch-Site: cross-site"),
	"other site, no origin": post("ban", ban, asJSON, "COOKIE", "Sec-Fetch-Site: cross-site"),
	"sister site":           post("ban", ban, asJSON, "COOKIE", "Origin: http://sister.HOST", "Sec-Fetch-Site: same-site"),
	"old browser":           post("ban", ban, asJSON, "COOKIE", "Origin: http://attacker.example"),
	"origin is null":        post("ban", ban, asJSON, "COOKIE", "Origin: null"),
	"form of another site":  post("ban", "key=127.0.0.1&seconds=600", "Content-Type: application/x-www-form-urlencoded", "COOKIE"),
	"form that looks right": post("ban", ban, "Content-Type: text/plain", "COOKIE"),
	"link of another site":  view("api/ban?key=127.0.0.1&seconds=600", "COOKIE", "Sec-Fetch-Site: cross-site"),
	"put":                   "PUT MOUNTapi/ban HTTP/1.1\nHost: HOST\nCOOKIE\n" + asJSON + "\n\n" + ban,
}

// secrets are the secrets of a service with a monitor.
type secrets struct {
	token  string // "" with a password
	cookie string // a field, with the secret
}

// seen is a response with its body.
type seen struct {
	status int
	header http.Header
	body   string
	at     string // the address that redirects have led to
}

func read(t *testing.T, resp *http.Response) seen {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return seen{resp.StatusCode, resp.Header, string(body), resp.Request.URL.String()}
}

// send sends a hostile request, byte by byte as it is.
func (s secrets) send(t *testing.T, host, upstream, mount, request string) seen {
	t.Helper()
	cut, lower := "AAAA", "aaaa"
	if s.token != "" {
		cut, lower = s.token[:len(s.token)-1], strings.ToLower(s.token)
	}
	request = strings.NewReplacer("MOUNT", mount, "HOST", host, "UPSTREAM", upstream, "COOKIE", s.cookie, "CUT", cut, "LOWER", lower).Replace(request)
	head, body, _ := strings.Cut(request, "\n\n")
	head = strings.TrimRight(head, "\n")
	if body != "" && !strings.Contains(head, "Transfer-Encoding") {
		head += "\nContent-Length: " + strconv.Itoa(len(body))
	}
	if !strings.Contains(head, "\nConnection:") {
		head += "\nConnection: close"
	}
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if strings.Contains(head, "chunked") {
		body = strings.ReplaceAll(body, "\n", "\r\n")
	}
	_, err = io.WriteString(conn, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+body)
	if err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(head, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method, URL: new(url.URL)})
	if err != nil {
		t.Fatalf("%v\n%s", err, head)
	}
	defer resp.Body.Close()
	return read(t, resp)
}
