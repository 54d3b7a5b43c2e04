package main

import (
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestEachCommandHasHelp(t *testing.T) {
	t.Parallel()
	all := toolAnswers(t, "", "help")
	all.want(t, exitOK, "Exit codes")
	for _, c := range commands {
		if !strings.Contains(all.out, "streamlimit "+c.name) {
			t.Errorf("help has no %s", c.name)
		}
		for _, args := range [][]string{{"help", c.name}, {c.name, "-h"}} {
			r := toolAnswers(t, "", args...)
			r.want(t, exitOK, c.about, "-json")
			if c.name != "digest" { // digest does not use Redis
				r.want(t, exitOK, "-redis", "-prefix")
			}
			if r.err != "" {
				t.Errorf("%v writes to stderr: %s", args, r.err)
			}
		}
	}
}

func TestHelpHidesTheURLOfTheEnvironment(t *testing.T) {
	t.Setenv("REDIS_URL", "redis://user:secret@localhost:1")
	r := toolAnswers(t, "", "help", "inspect")
	r.want(t, exitOK)
	if strings.Contains(r.out, "secret") {
		t.Errorf("a password in\n%s", r.out)
	}
	r = toolAnswers(t, "", "policies")
	r.want(t, exitFailure, "localhost:1")
	if strings.Contains(r.out+r.err, "secret") {
		t.Errorf("a password in\n%s", r.err)
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		part string
	}{
		{"", "streamlimit help COMMAND"},
		{"look", `no command "look"`},
		{"help look", `no command "look"`},
		{"policies -jsn", "-jsn"},
		{"policies all", `"all" is not a flag`},
		{"policies -redis localhost:6379", "no scheme"},
		{"policies -timeout 0s", "-timeout is 0s"},
		{"inspect -key k", "-policy is missing"},
		{"inspect -policy api", "-key is missing"},
		{"inspect -policy api -key k -limits 5/fortnight", "5/fortnight"},
		{"inspect -policy api -key k -costs", "-concurrency, -costs, -refundable, -slices and -lease need -limits"},
		{"inspect -policy uploads -key k -limits 5/30s,9/1m -concurrency", "5/30s,9/1m"},
		{"inspect -policy uploads -key k -limits 5/30s -concurrency -costs", "VariableCost"},
		{"inspect -policy uploads -key k -limits 5/day@UTC -concurrency", "write it as 5/30s"},
		{"inspect -policy api -key k -entries -1", "-entries is -1"},
		{"reset -policy api", "-key is missing"},
		{"ban -key k", "-for is missing"},
		{"ban -for 10m", "-key is missing"},
		{"unban", "-key is missing"},
		{"block", "give one of -network and -key"},
		{"exempt -key k -network 192.0.2.0/24", "give one of -network and -key"},
		{"block -network 192.0.2.0/33", "-network: "},
		{"block -network lan", "write it as 198.51.100.0/24"},
		{"exempt -key k -for -1m", "-for is -1m0s"},
		{"digest -name a:b", "-name is"},
		{"digest -secret NO_SUCH_VARIABLE", "the environment has no NO_SUCH_VARIABLE"},
		{"digest -former NO_SUCH_VARIABLE", "the environment has no NO_SUCH_VARIABLE"},
		{"override -limits 5/second", "-policy is missing"},
		{"override -policy api", "-limits is missing"},
		{"override -policy api -limits 5/fortnight", "5/fortnight"},
		{"override -policy api -limits 5/second,6/second", "two limits for one window"},
		{"override -policy a:b -limits 5/second", "':' is not allowed"},
		{"restore", "-policy is missing"},
		{"top", "not a terminal: use -json"},
	} {
		toolAnswers(t, "", strings.Fields(c.args)...).want(t, exitUsage, c.part)
	}
}

func TestRedisThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	for _, args := range []string{
		"policies", "inspect -policy api -key k", "reset -policy api -key k", "ban -key k -for 1m", "unban -key k", "block -key k", "exempt -network 192.0.2.1",
		"override -policy api -limits 5/second", "restore -policy api", "rules", "rules -delete x", "top -once",
	} {
		r := tool(t, server, strings.Fields(args)...)
		r.want(t, exitFailure, "no answer from Redis at "+server.Addr)
		if r.out != "" {
			t.Errorf("%s writes %q", args, r.out)
		}
	}
}

func TestRedisThatRefuses(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "right")
	for _, url := range []string{"redis://" + server.Addr, "redis://:guess@" + server.Addr} {
		r := toolAnswers(t, "", "policies", "-redis", url)
		r.want(t, exitFailure, "Redis at "+server.Addr+" refuses")
		if strings.Contains(r.err, "guess") {
			t.Errorf("a password in\n%s", r.err)
		}
	}
	toolAnswers(t, "", "policies", "-redis", "redis://:right@"+server.Addr, "-timeout", "10s").want(t, exitOK)
}
