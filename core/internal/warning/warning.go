// Package warning writes log lines about how a limiter is set up.
package warning

import (
	"log/slog"
	"strings"
)

// page explains each code in a section of its own.
const page = "https://github.com/streamlimit/streamlimit/blob/main/core/WARNINGS.md"

// Log writes the line of a code: with the code, where it is explained, and what
// is needed to act.
func Log(logger *slog.Logger, code, message string, args ...any) {
	logger.Warn("streamlimit: "+message, append([]any{"code", code, "see", page + "#" + strings.ToLower(code)}, args...)...)
}
