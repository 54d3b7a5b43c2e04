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

// run runs the script on a log, in one round trip unless the server refuses to
// run it so.
func (s *Store) run(caller context.Context, sc script, log string, args []any) ([]int64, error) {
	ctx, cancel := context.WithTimeout(caller, s.timeout)
	defer cancel()
	keys := []any{log, log + scratchSuffix}
	name, text := "evalsha", sc.sha
	for {
		cmd := newOnce(ctx, name, text, keys, args)
		err := s.do(caller, ctx, cmd)
		// In these cases the script has not run, so this is no second time.
		switch {
		case err == nil:
			return cmd.Val(), nil
		case redis.HasErrorPrefix(err, "NOSCRIPT") && name == "evalsha":
			// After the server's start, a failover or SCRIPT FLUSH.
			name, text = "eval", sc.source
		case redis.HasErrorPrefix(err, "TRYAGAIN") && len(keys) > 1:
			// While a slot moves, one of two keys is missing on either node.
			keys = keys[:1]
		default:
			return nil, err
		}
	}
}

// once is a command that the client never sends twice: a decision whose reply
// was lost may have been counted, and must not be counted again.
type once struct{ *redis.IntSliceCmd }

func newOnce(ctx context.Context, name, script string, keys, args []any) once {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, name, script, len(keys))
	all = append(all, keys...)
	return once{redis.NewIntSliceCmd(ctx, append(all, args...)...)}
}

// NoRetry tells the client not to send the command again after a failure.
func (once) NoRetry() bool { return true }

// Clone keeps NoRetry on the copies that the client makes.
func (c once) Clone() redis.Cmder {
	return once{c.IntSliceCmd.Clone().(*redis.IntSliceCmd)}
}
