package faults

// fault is a row of the table before it is run.
type fault struct{ name, holds string }

// faults are the rows in order; the first is row 1.
var faults = []fault{
	{"hot key: 5,000 goroutines in 4 processes", "admitted = limit"},
	{"random operations against a model, both stores, all layouts", "equals the model"},
	{"concurrent histories under faults; a lost reply is \"maybe\"", "linearizable"},
	{"Redis down at the start", "starts; recovers alone"},
	{"Redis killed under load (kill -9) and restarted", "the failure policy answers, no 500"},
	{"Redis frozen (SIGSTOP)", "answered within the timeout"},
	{"Redis slow by 10 to 1,000 ms", "latency at most wait bound + timeout + 10 ms"},
	{"reply lost after the script ran", "counted at most once"},
	{"reply cut at every byte", "an error, no panic, next request fine"},
	{"SCRIPT FLUSH every ms under load", "exact, no error"},
	{"failover by sentinels", "recovers; loss within the bound"},
	{"pointed at a read-only replica", "the failure policy answers, said once"},
	{"cluster: resharded under load, a primary killed", "exact; other slots unharmed"},
	{"Redis out of memory (noeviction)", "no growth; the failure policy answers"},
	{"Redis that evicts (volatile-lru)", "noticed and said at the start"},
	{"Redis loading its data, busy with a script", "answered within the timeout"},
	{"another type of value at a log's key", "the error names the policy; value intact"},
	{"clock steps back 60 s; entries from the future", "no error; over-blocking at most the step"},
	{"extremes: limits 1 and 10^6, windows 1 ms and 30 days, cost above the limit", "exact, or refused"},
	{"hostile keys: empty, 1 MB, NUL, braces, invalid UTF-8", "no collision, bounded key"},
	{"a flood of keys", "freed after the window; memory store bounded"},
	{"forged addresses: X-Forwarded-For; one IPv6 /64", "one bucket"},
	{"clients gone, contexts cancelled", "no failure of Redis; no leak"},
	{"panicking callbacks", "the framework recovers; limiter intact"},
	{"SIGTERM under load", "no request lost, nothing leaks, exit code 0"},
	{"Fiber's reused strings over keep-alive connections", "keys intact"},
	{"an ACL user with only the documented commands", "works; ACL LOG empty"},
	{"monitor attacked; markup in keys", "inert, nothing given away"},
	{"soak: mixed load, random faults, race detector", "flat heap, no race"},
	{"burst at a healthy Redis, and at a slow one", "admitted = limit; those who come too late get an error of their own"},
	{"processors busy beside the callers", "admitted = limit, breaker closed"},
	{"Redis 5 to 90 ms away: plain, TLS, password, slow to connect", "decided by Redis up to 80 ms, from the first request on"},
	{"idle connections reset, then 100 requests at once", "other connections serve: at most 1 fallback a round"},
	{"callers' deadlines; Redis frozen, half dead, a black hole", "the failure mode holds, breaker open within 1 s"},
	{"each command of the scripts denied or renamed, clock in 1970", "a clear error or correct; a time to live on every key"},
	{"cluster mode and a plain client, several hosts, refused connections", "works, or says what to write; no dial per request"},
}
