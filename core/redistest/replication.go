package redistest

import (
	"context"
	"fmt"
	"strconv"
)

// inSync returns nil if the server is not a replica, or has its primary's data.
func (s *Server) inSync(ctx context.Context) error {
	info, err := s.Client().Info(ctx, "replication").Result()
	if err != nil {
		return err
	}
	if status := infoField(info, "master_link_status"); status != "" && status != "up" {
		return fmt.Errorf("%s: master_link_status:%s", s.Addr, status)
	}
	return nil
}

// ReplicationOffset returns the number of bytes in the stream of changes that the server
// has sent as a primary, or received as a replica. Bytes that a replica lacks are lost
// when the primary dies.
func (s *Server) ReplicationOffset(ctx context.Context) (int64, error) {
	info, err := s.Client().Info(ctx, "replication").Result()
	if err != nil {
		return 0, err
	}
	name := "master_repl_offset"
	if infoField(info, "role") == "slave" {
		name = "slave_repl_offset"
	}
	return strconv.ParseInt(infoField(info, name), 10, 64)
}
