package redisstream

import (
	"context"
	"crypto/sha1" //nolint:gosec // the digest that EVALSHA names scripts by
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/store"
)

//go:embed prelude.lua
var preludeSource string

//go:embed counted.lua
var countedSource string

//go:embed summed.lua
var summedSource string

//go:embed refunded.lua
var refundedSource string

//go:embed calendar.lua
var calendarSource string

//go:embed earlier.lua
var earlierSource string

//go:embed slots.lua
var slotsSource string

//go:embed renew.lua
var renewSource string

//go:embed together.lua
var togetherSource string

//go:embed many.lua
var manySource string

//go:embed rules.lua
var rulesSource string

//go:embed rulechanges.lua
var ruleChangesSource string

// script is a Lua script and the digest that EVALSHA knows it by.
type script struct {
	source string
	sha    any // a string; an argument of each call, which a string would allocate
}

var (
	counted     = newScript(withPrelude(countedSource))
	summed      = newScript(withPrelude(summedSource))
	refunded    = newScript(withPrelude(refundedSource))
	calendar    = newScript(withPrelude(calendarSource))
	changeRules = newScript(withPrelude(rulesSource))
	deleteRules = newScript(replaceOnce(withPrelude(rulesSource), shebang, "#!lua flags=allow-oom\n")) // which frees memory
	readRules   = newScript(ruleChangesSource)
	slotScript  = newScript(withPrelude(slotsSource))
	renewScript = newScript(withPrelude(renewSource))

	// These two are their own source with those that they build on.
	together = newScript(shebang + preludeSource + functions + togetherSource)
	many     = newScript(shebang + preludeSource + functions + manySource)

	// These are for policies with earlier logs. Other decisions do not pay for them.
	changed         = newScript(shebang + preludeSource + functions + earlierFunction + "return earlier(KEYS, ARGV)\n")
	togetherChanged = newScript(shebang + preludeSource + functions + earlierFunction + withEarlier(togetherSource))
	manyChanged     = newScript(shebang + preludeSource + functions + earlierFunction + withEarlier(manySource))
)

// earlierFunction is earlier.lua as a function, which also uses the keys of the call.
var earlierFunction = "local keys = KEYS\n" + function("earlier", earlierSource)

// withEarlier returns a script for several logs with earlier.lua among the layouts.
func withEarlier(source string) string {
	return replaceOnce(source, "i = slots}", "i = slots, "+earlierLetter+" = earlier}")
}

// earlierLetter stands for earlier.lua where the others' are those of layouts.
const earlierLetter = "e"

// functions are the scripts of the layouts as functions.
var functions = function("counted", countedSource) + function("summed", summedSource) + function("refunded", refundedSource) +
	function("calendar", calendarSource) + function("slots", slotsSource)

// shebang begins a script. Without it a server that is out of memory would let
// the script write.
const shebang = "#!lua\n"

// preludeLine stands in a script where the prelude goes.
const preludeLine = "\n-- prelude.lua\n"

// withPrelude returns a script with the prelude in its place.
func withPrelude(source string) string { return replaceOnce(source, preludeLine, "\n"+preludeSource) }

// function makes a script a Lua function of its keys and arguments. The prelude
// stands once before all functions, and has the one time for all: before Redis 7.2
// the clock goes on within a script, and a log could have room the second time it is
// asked. (A counted log with room at that time admits at a later one, which is no
// matter.)
func function(name, source string) string {
	if source != earlierSource {
		source = replaceOnce(replaceOnce(source, preludeLine, "\n"), shebang, "")
	}
	return "local function " + name + "(KEYS, ARGV)\n" + source + "end\n"
}

// replaceOnce returns the source with text replaced. It panics unless text stands
// in it once.
func replaceOnce(source, text, by string) string {
	if n := strings.Count(source, text); n != 1 {
		panic(fmt.Sprintf("redisstream: a script has the line %q %d times, want once", strings.TrimSpace(text), n))
	}
	return strings.Replace(source, text, by, 1)
}

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // see above
	return &script{source: source, sha: hex.EncodeToString(sum[:])}
}

// scriptOf returns the script for decisions by a policy: that of its layout, or the one
// that also counts earlier logs.
func scriptOf(p *store.Log) *script {
	switch {
	case len(p.Earlier) > 0:
		return changed
	case p.Layout == store.Slots:
		return slotScript
	case p.Layout == store.Counted:
		return counted
	case p.Layout == store.Refunded:
		return refunded
	case p.Layout == store.Calendar:
		return calendar
	}
	return summed
}

// call is a script as it is sent for logs of one hash slot: EVALSHA, the digest,
// how many keys, and each log with its scratch key. There is room for so many
// arguments, which follow.
func (sc *script) call(arguments int, logs ...string) []any {
	call := make([]any, 0, 3+2*len(logs)+arguments)
	call = append(call, "evalsha", sc.sha, 2*len(logs))
	for _, log := range logs {
		call = append(call, log, scratch(log))
	}
	return call
}

// scratch is the scratch key of a log, which is gone when a script ends: the log's
// own key up to the end of its hash tag.
func scratch(log string) string { return log[:strings.IndexByte(log, '}')+1] }

// once is a command that the client never sends twice: a decision whose reply
// was lost may have been counted, and must not be counted again.
type once struct{ *redis.IntSliceCmd }

func newOnce(ctx context.Context, call []any) once {
	return once{redis.NewIntSliceCmd(ctx, call...)}
}

// NoRetry tells the client not to send the command again after a failure.
func (once) NoRetry() bool { return true }

// Clone keeps NoRetry on the copies that the client makes.
func (c once) Clone() redis.Cmder {
	return once{c.IntSliceCmd.Clone().(*redis.IntSliceCmd)}
}
