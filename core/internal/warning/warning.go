// Package warning writes log lines about how a limiter is set up.
package warning

import (
	"log/slog"
	"strings"
)

// page explains each code in a section.
const page = "https://github.com/streamlimit/streamlimit/blob/main/core/WARNINGS.md"

// Log writes the line of a code. The line has the code, the address of its explanation,
// and the facts that are needed to act.
func Log(logger *slog.Logger, code, message string, args ...any) {
	logger.Warn("streamlimit: "+message, append(Of(code), args...)...)
}

// Of returns the attributes of a log line with a code: the code and the address of its
// explanation.
func Of(code string) []any { return []any{"code", code, "see", page + "#" + strings.ToLower(code)} }
