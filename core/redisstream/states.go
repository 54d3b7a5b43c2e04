package redisstream

import (
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/store"
)

// remedy is what to do when a server answers a script with an error.
type remedy byte

const (
	// down: the server can't decide now. The policy's failure mode answers, and if
	// it goes on the server is not asked for a while.
	down remedy = iota

	// refused: the server can decide, but not on this, or not for this user. The
	// failure mode answers.
	refused

	// foreign: what has the log's key is not ours. It stays as it is, and whatever
	// the failure mode, the caller gets an error.
	foreign

	// withSource: send the script itself, at once.
	withSource

	// withoutScratch: send it again, at once, without the scratch key.
	withoutScratch

	// elsewhere: send it again, at once, over other connections and at last a new
	// one, which may lead to the new primary.
	elsewhere
)

// states are the states of servers that a script's error reports, by how it
// begins. In each of them the script has not run: only therefore can it be sent
// again. What is not here is refused, since the server has answered; that it
// does not answer at all is no state, and down.
//
// MOVED and ASK are followed by the client of a Cluster, which sends a command
// that was redirected to where the log is, and READONLY by it too.
var states = []struct {
	prefix string
	remedy remedy
	help   string
}{
	{"NOSCRIPT", withSource, ""},     // after the server's start, a failover, SCRIPT FLUSH
	{"TRYAGAIN", withoutScratch, ""}, // a slot moves: one of two keys is missing on either node
	{"READONLY", elsewhere, ""},      // a replica: after a failover, or by a wrong address
	{"LOADING", down, ""},            // reads its data after a start
	{"BUSY", down, ""},               // a script of somebody's runs for long
	{"OOM", down, "the server is at its maxmemory"},
	{"MISCONF", down, ""},     // can't write its data to disk
	{"NOREPLICAS", down, ""},  // min-replicas-to-write
	{"MASTERDOWN", down, ""},  // a replica without a primary
	{"CLUSTERDOWN", down, ""}, // slots without a server
	{"NOPERM", refused, notAllowed},
	{"The user executing the script can't run", refused, notAllowed}, // Redis 7.0
	{"ACL failure in script", refused, notAllowed},                   // later ones
	{"Unknown Redis command called from script", refused, noCommand},
	{"Unknown command called from script", refused, noCommand}, // Valkey
	{"WRONGTYPE", foreign, ""},
	{"MOVED", refused, "the server is one of a Cluster: use a client for it, such as redis+cluster://host:port"},
	{"ASK", refused, "the server is one of a Cluster: use a client for it, such as redis+cluster://host:port"},
	{"unknown command 'evalsha'", refused, "the server runs no scripts: it is a sentinel, or evalsha is renamed"},
	{"Error compiling script", refused, fmt.Sprintf("the server may be too old: Redis %d.0 or later is needed", oldestRedis)},
}

const (
	notAllowed = "the user lacks a command or the keys: package redisstream lists what it needs"
	noCommand  = "a command is renamed or disabled: package redisstream lists what it needs"
)

// stateOf is what to do after an error, and the error to return if that is not
// to send the script again.
func stateOf(err error) (remedy, error) {
	if help, ok := setupError(err); ok {
		return down, explained(help, err)
	}
	if !answered(err) {
		return down, err
	}
	for _, s := range states {
		if !redis.HasErrorPrefix(err, s.prefix) {
			continue
		}
		if s.help != "" {
			err = fmt.Errorf("%s: %w", s.help, err)
		}
		return s.remedy, marked(s.remedy, err)
	}
	return refused, marked(refused, err)
}

// marked is an error that core knows the remedy by.
func marked(r remedy, err error) error {
	switch r {
	case refused:
		return fmt.Errorf("%w: %w", store.ErrRejected, err)
	case foreign:
		return fmt.Errorf("%w: %w", store.ErrWrongType, err)
	}
	return err
}
