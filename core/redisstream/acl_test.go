package redisstream

import (
	_ "embed"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/redistest"
)

//go:embed doc.go
var documentation string

// The commands that the package documentation lists are all that is needed.
func TestLeastPrivilege(t *testing.T) {
	server := redistest.Start(t)
	admin := server.Client()
	rules := []any{"acl", "setuser", "limiter", "on", ">pw", "resetkeys", "~streamlimit:*", "resetchannels", "-@all"}
	for _, command := range documentedCommands(t) {
		rules = append(rules, "+"+command)
	}
	if err := admin.Do(t.Context(), rules...).Err(); err != nil {
		t.Fatal(err)
	}
	o := server.Options()
	o.Username, o.Password = "limiter", "pw"
	rdb := redis.NewClient(o)
	defer rdb.Close()
	s := New(rdb, WithTimeout(10*time.Second))
	works(t, s)
	if err := s.Reset(t.Context(), countedPolicy, "k"); err != nil {
		t.Error(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if log := admin.Do(t.Context(), "acl", "log").Val().([]any); len(log) > 0 {
		t.Errorf("ACL LOG: %v", log)
	}
}

func documentedCommands(t *testing.T) []string {
	t.Helper()
	m := regexp.MustCompile(`(?s)needs the keys streamlimit:\* and the commands (.*?)\.`).FindStringSubmatch(documentation)
	if m == nil {
		t.Fatal("the documentation lists no commands")
	}
	return regexp.MustCompile(`[a-z]+`).FindAllString(strings.NewReplacer("//", " ", "\n", " ", " and", " ").Replace(m[1]), -1)
}
