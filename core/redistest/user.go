package redistest

import (
	"context"
	"fmt"
)

// AddUser makes an ACL user who may use those keys, a pattern, and those
// commands and subcommands, such as "cluster|slots", and nothing else. It is
// this server's own: neither replicas nor other nodes have it.
func (s *Server) AddUser(name, password, keys string, commands ...string) {
	s.t.Helper()
	rules := []any{"ACL", "SETUSER", name, "reset", "on", ">" + password, "~" + keys}
	for _, command := range commands {
		rules = append(rules, "+"+command)
	}
	must(s.t, s.Client().Do(context.Background(), rules...).Err())
}

// Denied is what users were denied, from ACL LOG, newest first: the user, and
// the command or key.
func (s *Server) Denied() []string {
	s.t.Helper()
	entries, err := s.Client().ACLLog(context.Background(), 100).Result()
	must(s.t, err)
	denied := make([]string, 0, len(entries))
	for _, e := range entries {
		denied = append(denied, fmt.Sprintf("%s: %s %s", e.Username, e.Reason, e.Object))
	}
	return denied
}
