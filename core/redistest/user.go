package redistest

import (
	"context"
	"fmt"
)

// AddUser adds an ACL user with access to keys by a pattern, and to commands and
// subcommands such as "cluster|slots". The user exists only on this server, not on
// replicas or other nodes.
func (s *Server) AddUser(name, password, keys string, commands ...string) {
	s.t.Helper()
	rules := []any{"ACL", "SETUSER", name, "reset", "on", ">" + password, "~" + keys}
	for _, command := range commands {
		rules = append(rules, "+"+command)
	}
	must(s.t, s.Client().Do(context.Background(), rules...).Err())
}

// Denied returns the user, and the command or key, of each denial in ACL LOG, newest
// first.
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
