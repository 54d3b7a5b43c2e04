package redistest

import "slices"

// Rule says what becomes of a request, given its words: the command, in lower
// case, and its arguments. It is called for each request of a connection in
// turn, and at the same time for other connections.
type Rule func(words []string) Fate

// Fate is what becomes of a request and its reply. The zero Fate is that both
// arrive.
type Fate struct {
	swallowed bool
	reply     func(reply []byte) []byte // what arrives in place of the reply
	hangUp    bool                      // closes the connection after that
}

// Swallow is the fate of a request that does not reach the server. The
// connection stays, and what is asked on it afterwards is answered.
func Swallow() Fate { return Fate{swallowed: true} }

// LoseReply is the fate of a request that is carried out, and whose reply does
// not arrive. The connection stays.
func LoseReply() Fate { return ReplyWith("") }

// ReplyWith is the fate of a request that is carried out, and that gets those
// bytes for its reply. The connection stays.
func ReplyWith(other string) Fate {
	return Fate{reply: func([]byte) []byte { return []byte(other) }}
}

// CutReply is the fate of a request that is carried out, and of whose reply no
// more than the first n bytes arrive before the connection is closed.
func CutReply(n int) Fate {
	return Fate{hangUp: true, reply: func(reply []byte) []byte { return reply[:min(n, len(reply))] }}
}

// Scripts is the rule that gives all scripts that fate, and lets other commands
// pass.
func Scripts(fate Fate) Rule { return Commands(fate, "evalsha", "eval") }

// Commands is the rule that gives those commands that fate, and lets others
// pass. The names are in lower case.
func Commands(fate Fate, names ...string) Rule {
	return func(words []string) Fate {
		if slices.Contains(names, words[0]) {
			return fate
		}
		return Fate{}
	}
}
