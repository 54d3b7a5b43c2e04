package faults

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

// A cache in front of a service may store its responses for all clients. It stores no
// response of a limit inside to a denied request.
func TestRefusalsAreNotCached(t *testing.T) {
	t.Parallel()
	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	policy := core.NewPolicy("api", core.PerMinute(1))
	mux := http.NewServeMux()
	mux.HandleFunc("/unlimited", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
	mux.Handle("/", httplimit.New(limiter, policy, httplimit.WithKey(httplimit.ByHeader("User")))(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "stocks") })))
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("X-Accel-Expires", "60") // which nginx prefers
		mux.ServeHTTP(w, r)
	}))
	defer service.Close()
	proxy := cachingProxy(t, service.URL)

	for _, step := range []struct {
		user, path string
		status     int
		cache      string
	}{
		{"alice", "/unlimited", http.StatusTooManyRequests, "MISS"},
		{"bob", "/unlimited", http.StatusTooManyRequests, "HIT"}, // so it would be kept
		{"alice", "/a", http.StatusOK, "MISS"},
		{"alice", "/a", http.StatusOK, "HIT"},
		{"alice", "/b", http.StatusTooManyRequests, "MISS"},
		{"alice", "/b", http.StatusTooManyRequests, "MISS"},
		{"", "/b", http.StatusUnauthorized, "MISS"},
		{"bob", "/b", http.StatusOK, "MISS"},
	} {
		req := newRequest(t.Context(), http.MethodGet, proxy+step.path, "")
		if step.user != "" {
			req.Header.Set("User", step.user)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if cache := resp.Header.Get("X-Cache"); resp.StatusCode != step.status || cache != step.cache {
			t.Errorf("%s for %q: status %d, cache %s; want %d, %s", step.path, step.user, resp.StatusCode, cache, step.status, step.cache)
		}
	}
}

// cachingProxy starts an nginx that caches the responses of a service by path, for the
// time in their fields. It returns the URL of the nginx.
func cachingProxy(t *testing.T, service string) (url string) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // where only root finds it
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, dir := listener.Addr().String(), t.TempDir()
	listener.Close()
	config := fmt.Sprintf(`
daemon off;
master_process off;
pid %[1]s/pid;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	proxy_cache_path %[1]s/cache keys_zone=cache:1m;
	server {
		listen %[2]s;
		location / {
			proxy_pass %[3]s;
			proxy_cache cache;
			proxy_cache_key $uri;
			add_header X-Cache $upstream_cache_status always;
		}
	}
}
`, dir, addr, service)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "-c", file, "-p", dir, "-e", "stderr")
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("nginx, which this test needs: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 200 {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return "http://" + addr
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("nginx does not listen: %s", log.String())
	return ""
}
