package warning

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// There is at most one line a minute about the same failure.
func TestRarelyOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&text, nil))
		var failed, late Rarely
		for _, step := range []struct {
			after time.Duration
			lines int // of failures
		}{
			{0, 1}, {0, 1}, {30 * time.Second, 1}, {30*time.Second - 1, 1}, {1, 2}, {0, 2}, {time.Hour, 3},
		} {
			time.Sleep(step.after)
			failed.Log(t.Context(), logger, slog.LevelWarn, "trouble", "error", errors.New("down"))
			if n := strings.Count(text.String(), "down"); n != step.lines {
				t.Errorf("%d lines, want %d", n, step.lines)
			}
		}
		late.Log(t.Context(), logger, slog.LevelInfo, "trouble", "error", errors.New("other"))
		if n := strings.Count(text.String(), "other"); n != 1 {
			t.Errorf("%d lines about something else, want 1", n)
		}
	})
}
