package monitortest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// proxied is a configuration of nginx before a service.
type proxied struct {
	name     string
	mount    string // where the monitor is for clients
	location string // of nginx; UPSTREAM is the service
}

var proxies = []proxied{
	// The shortest: HTTP/1.0, the service's own address as Host, no forwarded fields
	// but those that the client has sent.
	{"default", "/ratelimit/", `location / { proxy_pass http://UPSTREAM; }`},
	{"forwarded", "/ratelimit/", `location / {
		proxy_pass http://UPSTREAM; proxy_http_version 1.1; proxy_set_header Connection "";
		proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
		proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
	}`},
	{"prefix", "/admin/limits/", `location /admin/limits/ {
		proxy_pass http://UPSTREAM/ratelimit/; proxy_http_version 1.1; proxy_set_header Connection "";
		proxy_set_header Host $http_host; proxy_set_header Forwarded "for=$remote_addr";
	}`},
	{"prefix without slash", "/admin/limits/", `location /admin/limits { proxy_pass http://UPSTREAM/ratelimit; }`},
	{"cache", "/ratelimit/", `location / {
		proxy_pass http://UPSTREAM; proxy_cache pages; proxy_cache_valid 200 302 303 401 403 404 10m; proxy_cache_key $uri$is_args$args;
		add_header X-Cache $upstream_cache_status always;
	}`},
	{"local", "/ratelimit/", `location / {
		proxy_pass http://UPSTREAM; proxy_set_header Host localhost; proxy_set_header X-Forwarded-For 127.0.0.1;
		proxy_set_header X-Real-IP ::1; proxy_set_header Forwarded "for=127.0.0.1";
	}`},
}

// nginxProgram finds nginx, which is not in every user's PATH.
func nginxProgram(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		if file, err := exec.LookPath(name); err == nil {
			return file
		}
	}
	t.Fatal("no nginx to test with, get one with `make nginx`")
	return ""
}

// nginx is a running nginx.
type nginx struct {
	hosts  []string // host:port of the proxies, in their order
	access string   // its access log
}

// startNginx starts an nginx before a service, with all configurations.
func startNginx(t *testing.T, upstream string) *nginx {
	t.Helper()
	dir := t.TempDir()
	n := &nginx{access: filepath.Join(dir, "access.log")}
	var conf strings.Builder
	if os.Getuid() == 0 {
		conf.WriteString("user root;\n") // else its workers can't read the directory
	}
	fmt.Fprintf(&conf, "daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr;\nevents {}\nhttp {\naccess_log %[2]s;\nproxy_cache_path %[1]s/pages keys_zone=pages:1m;\n", dir, n.access)
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&conf, "%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	// Take all ports before the first is released, so that no port is given twice.
	var listeners []net.Listener
	for _, p := range proxies {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		n.hosts = append(n.hosts, listener.Addr().String())
		fmt.Fprintf(&conf, "server { listen %s; %s }\n", listener.Addr(), strings.ReplaceAll(p.location, "UPSTREAM", upstream))
		listeners = append(listeners, listener)
	}
	conf.WriteString("}\n")
	for _, listener := range listeners {
		listener.Close()
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(nginxProgram(t), "-e", "stderr", "-p", dir, "-c", file)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", n.hosts[len(n.hosts)-1])
		if err == nil {
			conn.Close()
			return n
		}
		select {
		case <-ended:
			t.Fatalf("nginx has ended:\n%s", log.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("nginx is not ready: %v", err)
		}
	}
}
