package main

import "strings"

// reasons say why goals are missed, where they are: what profiles show. Each is for
// goals whose name begins so.
var reasons = []struct{ goal, why string }{
	{"Redis CPU a decision, warm keys, 1 caller", "a server that wakes up for each request spends most of its time on that, for all; " +
		"of the script's own, three commands on the stream (XLEN, XADD, XTRIM) are two thirds, where GCRA has TIME, GET and SET"},
	{"p50 of one caller", "of a lone caller's time a script that does nothing takes the server about 10 µs, XADD 6, XTRIM 3 to 6 and XLEN 2 to 3: a peer " +
		"that has no script, or no log that is cut to the window each time, has less to do. The same script sent by go-redis without this library is at 1.2"},
	{"throughput, one hot key", "the process shares two processors with the server and takes 6 µs itself for a decision, most of it to wake up the caller; " +
		"from run to run this is 3.2 to 5.5"},
	{"memory of a logged request", "a node of 100 entries takes just over 1,024 bytes, 11 or 12 an entry, which the server's allocator rounds up to 1,280"},
	{"coarse log, against the summed one", "it has one command more, the XDEL of the entry that the new one takes in"},
	{"time of a decision with the monitor", "from run to run it is 0.99 to 1.04; what the monitor does for a decision takes 0.2 of about 20 µs"},
	{"Echo, echolimit", "Echo's limiter sends no fields and keeps no decision: that, and the map that Echo makes for it, are 4 of the 8 allocations " +
		"(Echo itself has 2) and a fourth of the time; a decision from memory is another fourth"},
	{"allocations, Echo,", "Echo's limiter sends no fields and keeps no decision, which take 5 of the 8; Echo itself has 2"},
	{"allocations, Fiber,", "of the 4 Fiber has 1; the others are the client's key, the value of a field, and the decision for the handler"},
	{"Fiber, fiberlimit", "a decision from memory is a third of the time, the fields and the client's address a fifth, the decision that is kept for " +
		"the handler a tenth; Fiber's limiter keeps a number a client and sends three fields"},
	{"Echo 5, echolimit/v5", "Echo 5's limiter keeps a token bucket a client and no decision for the handler; ours keeps a log, copies the request for the " +
		"decision that is in its context, and finds the client's address"},
	{"Fiber 3, fiberlimit/v3", "as for Fiber; the allocations are fewer than those of Fiber 3's limiter"},
	{"Gin, ginlimit", "a decision from memory is a third of the time, what is kept for the handler a fifth, of which Gin's map is most, and the fields and " +
		"the client's address another fifth"},
	{"net/http, httplimit", "a fourth of the time is the copy of the request that has the decision in its context, which httprate does not keep; " +
		"a decision from memory is a third"},
}

// why is what is said about a goal that is not met.
func (g goal) why() string {
	if g.Met {
		return ""
	}
	for _, r := range reasons {
		if strings.HasPrefix(g.What, r.goal) {
			return r.why
		}
	}
	return ""
}
