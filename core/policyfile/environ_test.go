package policyfile

import (
	"slices"
	"testing"

	"github.com/streamlimit/streamlimit/core"
)

// environment returns a function that looks up variables.
func environment(variables map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		text, ok := variables[name]
		return text, ok
	}
}

func TestEnviron(t *testing.T) {
	known := append(program(), core.NewPolicy("login.by-user", core.PerMinute(5), core.Shadow()))
	for _, test := range []struct {
		name      string
		variables map[string]string
		want      string
	}{
		{"none", nil, ""},
		{"others", map[string]string{"SEARCH": "1/s", "POLICY_search": "1/s", "POLICY_SERACH": "1/s"}, ""},
		{"empty", map[string]string{"POLICY_SEARCH": "", "POLICY_STOCKS": " , "}, ""},
		{"one", map[string]string{"POLICY_SEARCH": "20/second"}, "search: 20/second"},
		{"commas", map[string]string{"POLICY_SEARCH": "20/second, 200/minute"}, "search: 20/second, 200/minute"},
		{"spaces", map[string]string{"POLICY_SEARCH": " 20/second\t200/minute\n"}, "search: 20/second, 200/minute"},
		{"in the order of the program", map[string]string{"POLICY_TOKENS": "9/m", "POLICY_STRICT": "1/s"}, "strict: 1/second; tokens: 9/minute, cost, refund 20s"},
		{"other characters", map[string]string{"POLICY_LOGIN_BY_USER": "1/s"}, "login.by-user: 1/second, shadow"},
	} {
		t.Run(test.name, func(t *testing.T) {
			policies, err := Environ("POLICY_", environment(test.variables), known...)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(policies); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestWrongEnviron(t *testing.T) {
	known := append(program(), core.NewPolicy("a.b", core.PerMinute(1)), core.NewPolicy("a-b", core.PerMinute(1)))
	for _, test := range []struct{ variable, text, want string }{
		{"POLICY_SEARCH", "1/s 20/fortnight", `POLICY_SEARCH: "20/fortnight": unknown unit, use s, m, h, d or a Go duration`},
		{"POLICY_SEARCH", "20", `POLICY_SEARCH: "20": write units/window, such as "100/minute" or "5/10s"`},
		{"POLICY_SEARCH", "1/s, 2/s", `POLICY_SEARCH: policy "search" has two limits for one window, 1/second and 2/second: keep the smaller`},
		{"POLICY_TOKENS", "1/s", `POLICY_TOKENS: tokens: refund: a grace of 20s is longer than half the longest window, 500ms`},
		{"POLICY_A_B", "1/s", `POLICY_A_B: this is both policy a.b and policy a-b: write them in a file`},
	} {
		policies, err := Environ("POLICY_", environment(map[string]string{test.variable: test.text}), known...)
		if err == nil || err.Error() != test.want {
			t.Errorf("%s=%q: %v, %v\nwant %s", test.variable, test.text, show(policies), err, test.want)
		}
	}
}

func TestEnvironIsAboveTheFile(t *testing.T) {
	known := program()
	file, err := Parse("p.yaml", []byte("policies: {search: {limits: 7/s, shadow: true}}"), known...)
	if err != nil {
		t.Fatal(err)
	}
	environ, err := Environ("POLICY_", environment(map[string]string{"POLICY_SEARCH": "20/s"}), slices.Concat(known, file)...)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(environ), "search: 20/second, shadow"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
