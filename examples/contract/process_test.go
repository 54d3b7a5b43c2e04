package contract

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core/redistest"
	"github.com/streamlimit/streamlimit/examples/internal/program"
)

// TestRequestInFlightIsFinished: a request is half sent, and its handler waits for the
// rest. The request gets its response even after SIGTERM.
func TestRequestInFlightIsFinished(t *testing.T) {
	t.Parallel()
	for _, framework := range frameworks {
		t.Run(framework, func(t *testing.T) {
			t.Parallel()
			s := start(t, framework)
			addr := s.Addr()
			newClient().want(t, s, 200, "GET /") // leaves an idle connection open

			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(timeout))
			const body = `{"user":"demo","password":"demo"}`
			fmt.Fprintf(conn, "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
				"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
			reader := bufio.NewReader(conn)
			// 100 Continue shows that the server has started to read the request.
			if resp, err := http.ReadResponse(reader, nil); err != nil || resp.StatusCode != 100 {
				t.Fatalf("%v, %v; want 100 Continue", resp, err)
			} else {
				_ = resp.Body.Close()
			}

			s.Terminate(t)
			refused := false
			for deadline := time.Now().Add(timeout); !refused && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				other, err := net.Dial("tcp", addr)
				if refused = err != nil; !refused {
					_ = other.Close()
				}
			}
			if !refused {
				t.Error("still takes connections after SIGTERM")
			}
			if _, err := conn.Write([]byte(body)); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatalf("the request in flight was cut off: %v\n%s", err, s.Log())
			}
			_ = resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("status %d, want 200", resp.StatusCode)
			}
			_ = conn.Close()
			s.stop(t) // checks the exit code
		})
	}
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad := write("policies.yaml", "# limits\npolicies:\n  stocks: 500/minute\n\n  search:\n    - 20/second\n    - 20/fortnight\n")
	for _, framework := range frameworks {
		for _, test := range []struct {
			name     string
			settings []string
			args     []string
			message  string
		}{
			{"address", []string{"ADDR=8080"}, nil, `ADDR: "8080": write host:port`},
			{"port", []string{"ADDR=127.0.0.1:http"}, nil, `ADDR: "127.0.0.1:http": write host:port`},
			{"address flag", nil, []string{"-addr", "here"}, `ADDR: "here"`},
			{"unknown flag", nil, []string{"-redis", "x"}, "flag provided but not defined: -redis"},
			{"argument", nil, []string{":8080"}, `unexpected argument ":8080"`},
			{"URL scheme", []string{"REDIS_URL=http://localhost"}, nil, "REDIS_URL: "},
			{"URL", []string{"REDIS_URL=localhost:6379"}, nil, "REDIS_URL: "},
			{"proxies", []string{"TRUSTED_PROXIES=10.0.0.0/33"}, nil, `TRUSTED_PROXIES: core: "10.0.0.0/33" is not a CIDR`},
			{"no file", []string{"POLICIES=" + filepath.Join(dir, "none.yaml")}, nil, "none.yaml"},
			{"bad variable", []string{"POLICY_SEARCH=20/fortnight"}, nil, `POLICY_SEARCH: `},
			{"bad limit", []string{"POLICIES=" + bad}, nil, bad + `:7: search: "20/fortnight": unknown unit, use s, m, h, d or a Go duration`},
		} {
			t.Run(framework+"/"+test.name, func(t *testing.T) {
				t.Parallel()
				cmd := program.Command(t, framework, test.settings...)
				cmd.Args = append(cmd.Args, test.args...)
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				kill := time.AfterFunc(timeout, func() { _ = cmd.Process.Kill() })
				defer kill.Stop()
				_ = cmd.Run()
				if code := cmd.ProcessState.ExitCode(); code != 2 {
					t.Errorf("exit code %d, want 2", code)
				}
				if message := stderr.String(); !strings.Contains(message, test.message) || strings.Count(message, "\n") != 1 {
					t.Errorf("message %q, want one line with %q", message, test.message)
				}
			})
		}
	}
}

func TestHelpAndTakenAddress(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, framework := range frameworks {
		help := program.Command(t, framework, "KEY_SECRET=pepper", "KEY_SECRET_FORMER=pepper")
		help.Args = append(help.Args, "-h")
		out, err := help.Output()
		if err != nil {
			t.Errorf("%s -h: %v", framework, err)
		}
		for _, name := range []string{"ADDR", "REDIS_URL", "POLICIES", "TRUSTED_PROXIES", "KEY_SECRET", "KEY_SECRET_FORMER"} {
			if !strings.Contains(string(out), name) {
				t.Errorf("%s -h does not name %s", framework, name)
			}
		}
		if strings.Contains(string(out), "pepper") {
			t.Errorf("%s -h shows the secret", framework)
		}
		busy := program.Command(t, framework, "ADDR="+taken.Addr().String())
		_ = busy.Run()
		if code := busy.ProcessState.ExitCode(); code != 1 {
			t.Errorf("%s on a taken address: exit code %d, want 1", framework, code)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "policies.yaml")
	if err := os.WriteFile(file, []byte("policies: {strict: 2/minute, protected: [20/m, 100/h], tokens: 50/s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, framework := range frameworks {
		t.Run(framework, func(t *testing.T) {
			s := start(t, framework, trustUs, "POLICIES="+file, "ADDR=:0")
			c := newClient()
			for range 2 {
				field(t, c.want(t, s, 200, "GET /strict"), "RateLimit-Policy", `"strict";q=2;w=60`)
			}
			denied(t, c.do(t, s, "GET /strict"), "strict", 60)
			field(t, c.want(t, s, 200, "GET /protected"), "RateLimit-Policy", `"protected";q=20;w=60, "protected-hour";q=100;w=3600`)
			c.want(t, s, 200, "POST /complete", `{"tokens": 50}`)
			c.want(t, s, 400, "POST /complete", `{"tokens": 51}`)
			field(t, c.want(t, s, 200, "GET /stocks/AAPL/history"), "RateLimit-Policy", `"stocks";q=100;w=60`)
			if !strings.Contains(s.Log(), "no REDIS_URL") {
				t.Errorf("log %q does not say that limits are not shared", s.Log())
			}
		})
	}
}

// TestPoliciesFollowTheirFile: policies change at once on SIGHUP, and soon without it.
// They keep their counts if only a Max has changed. They do not change if the file is
// bad.
func TestPoliciesFollowTheirFile(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	for _, framework := range frameworks {
		for _, store := range []string{"memory", "redis"} {
			t.Run(framework+"/"+store, func(t *testing.T) {
				t.Parallel()
				file := filepath.Join(t.TempDir(), "policies.yaml")
				write := func(text string) {
					t.Helper()
					if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				c := newClient()
				var server *server
				soon := func(policy string) {
					t.Helper()
					var seen string
					for deadline := time.Now().Add(timeout); seen != policy && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
						// Each check uses a new client, so that none is denied.
						seen = newClient().want(t, server, 200, "GET /protected").header.Get("RateLimit-Policy")
					}
					if seen != policy {
						t.Fatalf("RateLimit-Policy %s, want %s\n%s", seen, policy, server.Log())
					}
				}
				write("policies: {protected: 4/minute}\n")
				settings := []string{trustUs, "POLICIES=" + file, "POLICY_STRICT=3/10s"}
				if store == "redis" {
					settings = append(settings, "REDIS_URL=redis://"+redis.Addr)
				}
				server = start(t, framework, settings...)
				for range 3 {
					c.want(t, server, 200, "GET /protected")
				}
				write("policies: {protected: 6/minute}\n")
				server.Signal(t, syscall.SIGHUP)
				soon(`"protected";q=6;w=60`)
				for range 3 {
					c.want(t, server, 200, "GET /protected")
				}
				denied(t, c.do(t, server, "GET /protected"), "protected", 60)

				write("policies: {protected: 6/fortnight}\n")
				server.Signal(t, syscall.SIGHUP)
				write("policies: {protected: {limits: 7/minute, header: front}}\n")
				soon(`"front";q=7;w=60`)
				c.want(t, server, 200, "GET /protected")
				denied(t, c.do(t, server, "GET /protected"), "front", 60)
				field(t, c.want(t, server, 200, "GET /strict"), "RateLimit-Policy", `"strict";q=3;w=10`)
			})
		}
	}
}

// TestRedisThatIsAway: a server starts without Redis, and reports it at /healthz. It
// counts in Redis as soon as Redis is up.
func TestRedisThatIsAway(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	redis.Kill()
	var servers []*server
	for _, framework := range frameworks {
		servers = append(servers, start(t, framework, trustUs, "REDIS_URL=redis://"+redis.Addr))
	}
	c := newClient()
	for _, s := range servers {
		if answers := c.want(t, s, 200, "GET /healthz").decode(t)["store_answers"]; answers != false {
			t.Errorf("%s: store_answers %v without Redis", s.framework, answers)
		}
		c.want(t, s, 200, "GET /")
	}
	redis.Restart()
	for _, s := range servers {
		healthy := false
		for deadline := time.Now().Add(timeout); !healthy && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			healthy = c.want(t, s, 200, "GET /healthz").decode(t)["store_answers"] == true
		}
		if !healthy {
			t.Fatalf("%s does not find Redis again\n%s", s.framework, s.Log())
		}
		c := newClient()
		c.want(t, s, 200, "GET /protected")
		whoami(t, s, c, 9)
	}
}
