package redisstream

import (
	"context"
	"crypto/sha1" //nolint:gosec // the digest that EVALSHA names scripts by
	_ "embed"
	"encoding/hex"

	"github.com/redis/go-redis/v9"
)

//go:embed counted.lua
var countedSource string

//go:embed summed.lua
var summedSource string

// script is a Lua script and the digest that EVALSHA knows it by.
type script struct{ source, sha string }

var (
	counted = newScript(countedSource)
	summed  = newScript(summedSource)
)

func newScript(source string) script {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // see above
	return script{source: source, sha: hex.EncodeToString(sum[:])}
}

// run runs the script on a log, in one round trip unless the server does not
// have it yet: after its start, a failover or SCRIPT FLUSH.
func (s *Store) run(ctx context.Context, sc script, log string, args []any) ([]int64, error) {
	cmd := newOnce(ctx, "evalsha", sc.sha, log, args)
	err := s.do(ctx, cmd)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		// It has not run, so this is no second time.
		cmd = newOnce(ctx, "eval", sc.source, log, args)
		err = s.do(ctx, cmd)
	}
	if err != nil {
		return nil, err
	}
	return cmd.Val(), nil
}

// once is a command that the client never sends twice: a decision whose reply
// was lost may have been counted, and must not be counted again.
type once struct{ *redis.IntSliceCmd }

func newOnce(ctx context.Context, name, script, log string, args []any) once {
	all := make([]any, 0, 5+len(args))
	all = append(all, name, script, 2, log, log+scratchSuffix)
	return once{redis.NewIntSliceCmd(ctx, append(all, args...)...)}
}

// NoRetry tells the client not to send the command again after a failure.
func (once) NoRetry() bool { return true }

// Clone keeps NoRetry on the copies that the client makes.
func (c once) Clone() redis.Cmder {
	return once{c.IntSliceCmd.Clone().(*redis.IntSliceCmd)}
}
