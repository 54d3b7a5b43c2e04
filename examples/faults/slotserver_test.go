package faults

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gofiber/fiber/v2"
	fiber3 "github.com/gofiber/fiber/v3"
	"github.com/labstack/echo/v4"
	echo5 "github.com/labstack/echo/v5"
	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
	"github.com/streamlimit/streamlimit/core/redisstream"
	"github.com/streamlimit/streamlimit/echolimit"
	echolimit5 "github.com/streamlimit/streamlimit/echolimit/v5"
	"github.com/streamlimit/streamlimit/fiberlimit"
	fiberlimit3 "github.com/streamlimit/streamlimit/fiberlimit/v3"
	"github.com/streamlimit/streamlimit/ginlimit"
)

// slotServer is a process of this program that serves on one framework. A request for a
// policy's name holds one of its slots while the server calls the upstream.
type slotServer struct {
	name string // the framework
	url  string
	log  lines
	cmd  *exec.Cmd
	in   *os.File
	out  *bufio.Scanner
	dead sync.Once
}

// slotHealth is what a server's limiter reports, as a line of its process.
type slotHealth struct{ lost, local, failures, down int64 }

// startSlotServer starts a server. The settings are variables of its environment.
func startSlotServer(t *testing.T, framework string, settings ...string) *slotServer {
	t.Helper()
	s := &slotServer{name: framework, cmd: exec.Command(os.Args[0])}
	s.cmd.Env = append(append(os.Environ(), "FAULTS_WORKER=slots", "FAULTS_FRAMEWORK="+framework), settings...)
	s.cmd.Stderr = &s.log
	reader, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdin, s.in = reader, in
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.out = bufio.NewScanner(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reader.Close()
	t.Cleanup(s.kill)
	return s
}

// line returns the next line of the process.
func (s *slotServer) line(t *testing.T) string {
	t.Helper()
	if !s.out.Scan() {
		t.Fatalf("%s has ended: %v\n%s", s.name, s.out.Err(), &s.log)
	}
	return s.out.Text()
}

// health asks the process for its limiter's health.
func (s *slotServer) health(t *testing.T) (h slotHealth) {
	t.Helper()
	fmt.Fprintln(s.in)
	if _, err := fmt.Sscan(s.line(t), &h.lost, &h.local, &h.failures, &h.down); err != nil {
		t.Fatal(err)
	}
	return h
}

// kill ends the process by SIGKILL.
func (s *slotServer) kill() {
	s.dead.Do(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.in.Close()
	})
}

// slotWorker is a server until its input ends. For each line of input it writes the
// limiter's health.
func slotWorker() {
	most, _ := strconv.ParseInt(os.Getenv("FAULTS_MAX"), 10, 64)
	hold, _ := time.ParseDuration(os.Getenv("FAULTS_HOLD"))
	rdb := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: strings.Fields(os.Getenv("FAULTS_REDIS")), MasterName: os.Getenv("FAULTS_MASTER"),
		PoolSize: 64, PoolTimeout: patience, DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience,
	})
	limiter := core.New(redisstream.New(rdb, redisstream.WithTimeout(patience)))
	if err := limiter.Ping(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	work := slotWork{
		limiter: limiter,
		policies: []*core.Policy{
			core.NewConcurrency(slotsClosed, most, hold, core.OnStoreFailure(core.FailClosed)),
			core.NewConcurrency(slotsLocal, most, hold, core.OnStoreFailure(core.FailLocal)),
		},
		client:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}},
		upstream: os.Getenv("FAULTS_UPSTREAM"),
		server:   os.Getenv("FAULTS_FRAMEWORK"),
	}
	fmt.Println("http://" + listener.Addr().String())
	go func() {
		fmt.Fprintln(os.Stderr, work.serve(listener))
		os.Exit(1)
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		h := limiter.Health()
		fmt.Println(h.LostSlots, h.Local, h.Failures, len(h.Down))
	}
}

// slotWork is what the servers do on each framework.
type slotWork struct {
	limiter  *core.Limiter
	policies []*core.Policy
	client   *http.Client
	upstream string // its URL
	server   string // the name of this server
}

// call calls the upstream while the request holds a slot, and returns the status for the
// response. It stops when the slot is lost.
func (w *slotWork) call(d core.Decision, query string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-d.Slot().Lost():
			cancel()
		case <-ctx.Done():
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.upstream+"/"+d.Policy.Name()+"?"+query, nil)
	if err != nil {
		return http.StatusInternalServerError
	}
	req.Header.Set("Server", w.server)
	resp, err := w.client.Do(req)
	if err != nil {
		return http.StatusBadGateway
	}
	resp.Body.Close()
	return resp.StatusCode
}

// serve serves the policies on the framework.
func (w *slotWork) serve(listener net.Listener) error {
	mux := http.NewServeMux()
	gin.SetMode(gin.ReleaseMode)
	router, e, e5 := gin.New(), echo.New(), echo5.New()
	f := fiber.New(fiber.Config{DisableStartupMessage: true})
	f3 := fiber3.New()
	for _, p := range w.policies {
		path := "/" + p.Name()
		mux.Handle(path, httplimit.New(w.limiter, p, httplimit.WithKey(httplimit.ByConstant("upstream")))(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			d, _ := httplimit.FromContext(r)
			rw.WriteHeader(w.call(d, r.URL.RawQuery))
		})))
		router.GET(path, ginlimit.New(w.limiter, p, ginlimit.WithKey(ginlimit.ByConstant("upstream"))), func(c *gin.Context) {
			d, _ := ginlimit.FromContext(c)
			c.Status(w.call(d, c.Request.URL.RawQuery))
		})
		e.GET(path, func(c echo.Context) error {
			d, _ := echolimit.FromContext(c)
			return c.NoContent(w.call(d, c.QueryString()))
		}, echolimit.New(w.limiter, p, echolimit.WithKey(echolimit.ByConstant("upstream"))))
		e5.GET(path, func(c *echo5.Context) error {
			d, _ := echolimit5.FromContext(c)
			return c.NoContent(w.call(d, c.QueryString()))
		}, echolimit5.New(w.limiter, p, echolimit5.WithKey(echolimit5.ByConstant("upstream"))))
		f.Get(path, fiberlimit.New(w.limiter, p, fiberlimit.WithKey(fiberlimit.ByConstant("upstream"))), func(c *fiber.Ctx) error {
			d, _ := fiberlimit.FromContext(c)
			return c.SendStatus(w.call(d, string(c.Request().URI().QueryString())))
		})
		f3.Get(path, fiberlimit3.New(w.limiter, p, fiberlimit3.WithKey(fiberlimit3.ByConstant("upstream"))), func(c fiber3.Ctx) error {
			d, _ := fiberlimit3.FromContext(c)
			return c.SendStatus(w.call(d, string(c.Request().URI().QueryString())))
		})
	}
	switch w.server {
	case "gin":
		return http.Serve(listener, router)
	case "echo":
		return http.Serve(listener, e)
	case "echo5":
		return http.Serve(listener, e5)
	case "fiber":
		return f.Listener(listener)
	case "fiber3":
		return f3.Listener(listener, fiber3.ListenConfig{DisableStartupMessage: true})
	}
	return http.Serve(listener, mux)
}
