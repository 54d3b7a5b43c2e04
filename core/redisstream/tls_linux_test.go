package redisstream

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/streamlimit/streamlimit/core/redistest"
)

// A process that trusts the server's authority opens it by its URL. Go reads
// whom the system trusts once, so this is another process.
func TestOpenTLS(t *testing.T) {
	const variable = "STREAMLIMIT_TEST_TLS_URL"
	if url := os.Getenv(variable); url != "" {
		works(t, open(t, url))
		return
	}
	server := redistest.StartTLS(t, "--requirepass", "p@ss")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOpenTLS$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+server.CAFile, variable+"=rediss://:p%40ss@"+server.Addr+"/0")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestOpenTLS ") {
		t.Errorf("%v:\n%s", err, out)
	}
	if n := server.Client().DBSize(t.Context()).Val(); n == 0 {
		t.Error("the other process has left no log")
	}
}
