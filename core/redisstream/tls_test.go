package redisstream

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/redistest"
)

func TestTLS(t *testing.T) {
	server := redistest.StartTLS(t)
	works(t, New(server.Client(), patient))
	plain := redis.NewClient(&redis.Options{Addr: server.Addr, DisableIdentity: true, MaxRetries: -1})
	defer plain.Close()
	if _, err := New(plain, patient).Take(t.Context(), countedLog, "k", 1); err == nil {
		t.Error("a decision without TLS")
	}
}

// A server whose certificate nobody vouches for is not asked.
func TestOpenTLSUnknownAuthority(t *testing.T) {
	server := redistest.StartTLS(t)
	var log bytes.Buffer
	s, err := Open("rediss://"+server.Addr, patient, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	must(t, err)
	defer s.Close()
	if !strings.Contains(log.String(), "certificate signed by unknown authority") {
		t.Errorf("log %q, want the reason", log.String())
	}
	if _, err := s.Take(t.Context(), countedLog, "k", 1); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("error %v, want the reason", err)
	}
}
