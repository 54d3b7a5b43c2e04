package redisstream

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// stub
type topology struct{ rdb redis.UniversalClient }

func newTopology(rdb redis.UniversalClient) *topology { return &topology{rdb} }
func (t *topology) place(log string) string {
	if _, ok := t.rdb.(*redis.Client); ok {
		return ""
	}
	return scratch(log)
}
func (t *topology) crossSlot() bool               { return false }
func (t *topology) ask(ctx context.Context) error { return nil }
func (t *topology) known() bool                   { return true }
func (t *topology) address(log string) string {
	var server *redis.Client
	var err error
	switch rdb := t.rdb.(type) {
	case *redis.ClusterClient:
		server, err = rdb.MasterForKey(context.Background(), log)
	case *redis.Ring:
		server, err = rdb.GetShardClientForKey(log)
	default:
		return ""
	}
	if err != nil {
		return ""
	}
	return server.Options().Addr
}
