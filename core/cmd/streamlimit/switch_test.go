package main

import (
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestSwitchOffAndOn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newService(t, server)
	mode := func(want core.Mode) {
		t.Helper()
		if _, err := s.Rules(t.Context()); err != nil { // reads the rules now
			t.Fatal(err)
		}
		d := s.ask(t, api, client, 1)
		if got := d.Policy.Mode(); got != want || (want == core.ModeOff) != (d.Reason == core.ReasonOff) {
			t.Errorf("mode %s, reason %s, want %s", got, d.Reason, want)
		}
	}
	var rule monitor.Rule
	r := tool(t, server, "switch", "-policy", "api", "-to", "off", "-for", "1h", "-json")
	r.want(t, exitOK)
	if r.decode(t, &rule); rule.ID != "switch policy api" || rule.Kind != core.RuleSwitch || rule.Mode != core.ModeOff || rule.Until == 0 {
		t.Errorf("%+v", rule)
	}
	mode(core.ModeOff)
	tool(t, server, "switch", "-policy", "api", "-to", "on").want(t, exitOK, "on again: api")
	mode(core.ModeOn)
	tool(t, server, "switch", "-policy", "api", "-to", "on").want(t, exitFailure, "not switched: api")
	tool(t, server, "switch", "-all", "-to", "shadow").want(t, exitOK, "switched: switch all policies: shadow")
	mode(core.ModeShadow)
	tool(t, server, "switch", "-policy", "api", "-to", "off").want(t, exitOK, "switched: switch api: off")
	mode(core.ModeOff)
	tool(t, server, "switch", "-policy", "api", "-to", "on").want(t, exitOK, "on again: api; still switch all policies: shadow")
	mode(core.ModeShadow)
	tool(t, server, "rules").want(t, exitOK, "switch policy *  shadow")
	tool(t, server, "switch", "-all", "-to", "on").want(t, exitOK, "on again: all policies")
	mode(core.ModeOn)
	r = tool(t, server, "switch", "-policy", "apii", "-to", "off")
	if r.want(t, exitOK, "switched: switch apii: off"); !strings.Contains(r.err, `No process has published a policy "apii"`) || !strings.Contains(r.err, "api") {
		t.Errorf("an unknown policy has the note %q", r.err)
	}
	tool(t, server, "switch", "-policy", "apii", "-to", "on").want(t, exitOK, "on again: apii")
	for _, wrong := range [][]string{
		{"-policy", "api"}, {"-to", "off"}, {"-all", "-policy", "api", "-to", "off"}, {"-all", "-to", "dim"}, {"-all", "-to", "on", "-for", "1h"},
		{"-all", "-to", "off", "-for", "-1s"},
	} {
		tool(t, server, append([]string{"switch"}, wrong...)...).want(t, exitUsage, "")
	}
}
