package warning

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// A line is written once for each code and policy, with a link to its explanation.
func TestOnce(t *testing.T) {
	var text bytes.Buffer
	count := func(what string) (n int) {
		for line := range strings.Lines(text.String()) {
			if strings.Contains(line, what) {
				n++
			}
		}
		return n
	}
	logger := slog.New(slog.NewTextHandler(&text, nil))
	w := Once{Logger: logger}
	for range 3 {
		w.SayOf("STREAMLIMIT_W003", "api", "twice")
		w.Say("STREAMLIMIT_W001", "proxy", "requests", 7)
	}
	const want = `level=WARN msg="streamlimit: twice" code=STREAMLIMIT_W003 ` +
		`see=https://github.com/streamlimit/streamlimit/blob/main/core/WARNINGS.md#streamlimit_w003 policy=api`
	if count("") != 2 || count(want) != 1 || count("requests=7") != 1 {
		t.Errorf("log %s, want once %s", text.String(), want)
	}
	if w.SayOf("STREAMLIMIT_W003", "other", "twice"); count("") != 3 || count("policy=other") != 1 {
		t.Errorf("log %s, want a line about another policy", text.String())
	}
	another := Once{Logger: logger}
	if another.SayOf("STREAMLIMIT_W003", "api", "twice"); count("policy=api") != 2 {
		t.Error("another limiter does not warn")
	}
}
