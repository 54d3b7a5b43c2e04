package policyfile_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/policyfile"
)

func ExampleParse() {
	search := core.NewPolicy("search", core.PerSecond(10), core.PerMinute(100))
	tokens := core.NewPolicy("tokens", core.PerMinute(10_000), core.VariableCost())

	policies, err := policyfile.Parse("policies.yaml", []byte(`
policies:
  search: [20/second, 200/minute]
  tokens:
    limits: 50000/minute
    shadow: true
`), search, tokens)
	for _, p := range policies {
		fmt.Println(p, p.Limits(), p.Log().VariableCost, p.Log().Shadow)
	}
	fmt.Println(err)

	_, err = policyfile.Parse("policies.yaml", []byte("policies:\n  search: 20/fortnight\n"), search, tokens)
	fmt.Println(err)
	// Output:
	// search [20/second 200/minute] false false
	// tokens [50000/minute] true true
	// <nil>
	// policies.yaml:2: search: "20/fortnight": unknown unit, use s, m, h, d or a Go duration
}

func ExampleRead() {
	path := filepath.Join(os.TempDir(), "streamlimit-example-read.yaml")
	defer os.Remove(path)
	_ = os.WriteFile(path, []byte("policies: {api: 100/minute, login: [5/minute, 20/hour]}\n"), 0o600)

	policies, err := policyfile.Read(path)
	for _, p := range policies {
		fmt.Println(p, p.Limits())
	}
	fmt.Println(err)
	// Output:
	// api [100/minute]
	// login [5/minute 20/hour]
	// <nil>
}

func ExampleEnviron() {
	search := core.NewPolicy("search", core.PerSecond(10), core.PerMinute(100))
	variables := map[string]string{"POLICY_SEARCH": "20/second, 200/minute"}
	lookup := func(name string) (string, bool) { // os.LookupEnv
		text, ok := variables[name]
		return text, ok
	}

	policies, err := policyfile.Environ("POLICY_", lookup, search)
	fmt.Println(policies[0], policies[0].Limits(), err)

	variables["POLICY_SEARCH"] = "20"
	_, err = policyfile.Environ("POLICY_", lookup, search)
	fmt.Println(err)
	// Output:
	// search [20/second 200/minute] <nil>
	// POLICY_SEARCH: "20": write units/window, such as "100/minute" or "5/10s"
}

func ExampleWatch() {
	path := filepath.Join(os.TempDir(), "streamlimit-example-watch.yaml")
	defer os.Remove(path)
	_ = os.WriteFile(path, []byte("policies: {api: 200/minute}\n"), 0o600)

	limiter := core.New(core.NewMemory())
	defer limiter.Close()
	api := core.NewPolicy("api", core.Per(100, time.Minute))
	limiter.Register(api)

	watcher, err := policyfile.Watch(path, limiter, []*core.Policy{api},
		policyfile.WithSignals(), // SIGHUP
		policyfile.WithEnviron("POLICY_", os.LookupEnv),
		policyfile.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer watcher.Close()

	now, _ := limiter.Policy("api")
	fmt.Println(now.Limits())
	// Output: [200/minute]
}
