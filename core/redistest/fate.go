package redistest

import "slices"

// Rule returns the fate of a request. Its argument has the words of the request: the
// command, in lower case, and its arguments. It is called for each request of a
// connection in order, and concurrently for other connections.
type Rule func(words []string) Fate

// Fate is the treatment of a request and its reply. With the zero Fate both arrive.
type Fate struct {
	swallowed bool
	reply     func(reply []byte) []byte // returns the bytes that arrive in place of the reply
	hangUp    bool                      // closes the connection afterwards
}

// Swallow drops a request before it reaches the server. The connection stays open, and
// later requests get replies.
func Swallow() Fate { return Fate{swallowed: true} }

// LoseReply passes a request on, and drops its reply. The connection stays open.
func LoseReply() Fate { return ReplyWith("") }

// ReplyWith passes a request on, and replaces its reply by those bytes. The connection
// stays open.
func ReplyWith(other string) Fate {
	return Fate{reply: func([]byte) []byte { return []byte(other) }}
}

// CutReply passes a request on. At most the first n bytes of its reply arrive, and then
// the connection is closed.
func CutReply(n int) Fate {
	return Fate{hangUp: true, reply: func(reply []byte) []byte { return reply[:min(n, len(reply))] }}
}

// Scripts returns a rule that gives all scripts that fate. Other commands pass.
func Scripts(fate Fate) Rule { return Commands(fate, "evalsha", "eval") }

// Commands returns a rule that gives those commands that fate. Other commands pass. The
// names are in lower case.
func Commands(fate Fate, names ...string) Rule {
	return func(words []string) Fate {
		if slices.Contains(names, words[0]) {
			return fate
		}
		return Fate{}
	}
}
