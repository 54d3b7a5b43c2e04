// Package redisstream keeps the logs of package core in Redis Streams, where
// any number of processes share them.
//
//	rdb := redis.NewUniversalClient(&redis.UniversalOptions{
//		Addrs:                 []string{"localhost:6379"},
//		ContextTimeoutEnabled: true, // saves a goroutine for each decision
//		DialerRetries:         1,    // a server that is down is noticed at once
//	})
//	limiter := core.New(redisstream.New(rdb))
//
// or, with a client of its own:
//
//	store, err := redisstream.Open("redis://localhost:6379/0")
//
// A decision is one Lua script and one round trip, on one stream for each policy
// and key; the scripts are the .lua files of this package. Times are by the
// clock of the Redis server. A denied request writes no entry. Every log has a
// time to live of at most two windows, except while the server's clock is behind
// an entry.
//
// Decisions that come while others are under way share round trips. A denial also
// applies to decisions with the same policy, key and cost that began to wait before it
// was sent. It is cached until an entry leaves its log, for at most a second. A reset
// by another process can go unseen for that long. The RetryAfter of a cached denial can
// be late by one round trip. Denials by policies with refunds or costs are not cached.
// Denials by policies with leases are cached briefly.
//
// # How it counts
//
// Each admitted request is an entry in the stream of its policy and key, and the entry's
// ID holds its time. The script reads the server's clock once for each decision.
//
//   - With one limit and a cost of 1, the script trims the stream to the window exactly.
//     The stream's length is then the count.
//   - With several limits, or costs, IDs are time-total: the second half is the running
//     total of admitted cost. The units in a window are the difference of two IDs, so a
//     decision takes two seeks for any limit, cost and length of log.
//   - With refunds, entries also carry the running total of what was given back. A refund
//     deletes nothing.
//
// A decision is sent at once if none is in flight. Others form a batch of up to 128 for
// one script call. Requests on the same log with one limit are a single check in the
// batch, and the first of them get what is left. On a Cluster or Ring, only requests on
// the same log share a call. Decisions on several policies do not share one.
//
// # Leases
//
// A policy with [core.Lease] has logs whose windows are longer by the lease. By one
// script call, a process takes units for all waiting requests, and some ahead. It returns
// the units that are left at the end, for up to 64 keys in a call. A key has at most one
// call in flight. A process keeps up to 65,536 keys, at about 400 bytes each, until they
// have been idle for twice the lease. Requests of further keys are decided one by one.
//
// A lease ends d after its call was sent, by the monotonic clock or the wall clock of the
// process, whichever is first. A process that is stopped for longer returns nothing: the
// server ignores what comes back later than twice d after it was taken. A process whose
// clocks both stood still while its machine slept can use its lease late, but nothing
// more.
//
// A request that finds the lease empty waits for the call in flight. If that call was
// sent before the request arrived and brings too few units, the request waits for one
// more call. So a request waits for at most twice the time of a decision.
//
// Denials on leased logs are cached for at most d, and for at most 100 ms. While earlier
// logs of a policy count, nothing is taken ahead.
//
// # What a decision costs
//
// The script's time in µs, on 2 virtual cores with Redis 7.0.15, with decisions sent in
// pipelines. From run to run it varies by a quarter, and only ratios carry over:
//
//	                      warm key  new key  denied
//	one limit                   11       21      22
//	one limit, any cost         28       27      24
//	two limits                  39       30      33
//
// A client that was seen once takes 360 bytes of Redis memory. Each further request takes
// 13 to 14 bytes with one limit, and 12 with costs. To measure again, in core:
//
//	go test -run '^$' -bench 'Script|Memory' -count 3 ./redisstream
//
// # Redis
//
// Redis 7.0 or later, or Valkey 7.2 or later: standalone, Sentinel, Cluster or
// Ring. A Ring moves the keys of a server that is down to the others, where they
// start with empty logs.
//
// Set maxmemory-policy to noeviction, since an evicted log loses its counts. With the
// first decision the store checks in the background how the servers are set up (INFO),
// and which logs one script may use (a script that only reads). It logs a warning when
// they evict keys, are too old, or need a client for a Cluster.
//
// A server in cluster mode with one shard works with any client, and so does a client
// in a wrapper. The store tracks health for each server, unless a wrapper hides a
// Cluster or Ring.
//
// Leave stream-node-max-entries or stream-node-max-bytes above 0. The defaults are 100
// and 4096. With both at 0 the server keeps a stream in one node, which grows while its
// key is busy, despite trimming. The store warns of this when the user may read the
// configuration (config|get).
//
// Slots of concurrency limits are sorted sets in the place of logs. A process renews its
// slots in one call a server, in a Cluster one a hash slot, three to six times in a hold.
// They are live by the server's clock. If that jumps ahead by more than the hold, slots end
// early and others can take their places; the limiter logs that once a minute.
//
// An ACL user needs the keys streamlimit:* and the commands evalsha, eval, unlink,
// ping, info, time, xtrim, xlen, xadd, xdel, xrange, xrevrange, copy, rename,
// pexpire, hget, hmget, hgetall, hset, hlen, hdel, zadd, zcard, zrem,
// zrangebyscore, zcount, zscore, zremrangebyrank and zrevrangebyscore. With [WithPrefix] the keys start with that prefix instead. Some
// clients need more:
//
//   - select, for a database other than 0;
//   - client|setname, for a client name;
//   - command, cluster|slots and asking, for a Cluster.
//
// The protocol (2 or 3) and TLS make no difference. By default a client given to [New]
// also tries client|setinfo and client|maint_notifications, and works without them. Each
// try adds an entry to ACL LOG. DisableIdentity and a MaintNotificationsConfig with
// ModeDisabled in the options of go-redis avoid that; clients of [Open] have both.
// Without the command info, the store does not check the servers, and its tries are
// in ACL LOG too.
//
// When the user lacks another command, or rename-command has removed it, a decision
// that needs it is an error and counts nothing. Copy and rename are the exception:
// without them each log takes 4 kB more.
//
// By default go-redis writes a line to standard error for each failed dial. The clients
// of [Open] do not. For others, and for those of sentinels, [redis.SetLogger] or the
// package logging of go-redis change that, for all clients of the program.
//
// A Cluster refuses all keys while one primary is down, unless
// cluster-require-full-coverage is no. Set it to no, so that the keys of the other
// primaries still work. Clients that are given to [New] should have DialerRetries 1,
// like those of [Open], to detect a server that is down sooner.
//
// # Rules
//
// Rules (see [store.Rule]) are kept in four keys in one hash slot, streamlimit:{rules}:1:all
// and others, which have no time to live. A Ring has them on one of its servers. With
// 100,000 rules they take about 45 MB of the server's memory. They end by the clock of
// that server.
//
// A change costs the same for any number of rules, and a process reads what has changed.
// It reads all rules, 4,000 at a time, when it starts, when the rules were lost, and when
// more than 10,000 changes came since it read them last. While nothing is decided, no
// command is sent: see [core.WithRulesInterval].
//
// When the key of their order is lost alone, as by an eviction, processes keep the rules
// that they know. A process that starts gets an error (STREAMLIMIT_W008) instead of the
// rules. The next change of a rule restores the key.
//
// # Changed limits
//
// A limit keeps its log if only its Max changes. While a counted log holds over
// 100,000 entries, and more than 1,000 more than a lowered limit admits, RetryAfter
// can be too short, since the script does not read that many entries. The same holds for
// any counted log without the command copy, and while its slot moves.
//
// Another change begins another log, and the earlier ones count in the same script call:
// see [store.Log.After]. Such a decision costs more until the earlier logs are empty;
// other decisions do not. In a counted earlier log, the oldest and the newest 256
// entries count one by one. The others count until all of them have left. With a shorter
// window, or for RetryAfter, that is too many, and never too few.
//
// A change that is undone within a second can bring back a cached denial from before
// the change. Its RetryAfter does not count what was admitted meanwhile.
//
// One sorted set, streamlimit:{logs}, has the name of each log that is written, so that a
// process that starts with other limits counts the earlier ones. It ends by itself. While
// a process decides, it registers its logs every 20 seconds with one command (eval), at
// most 4,320 a day. While nothing is decided, no command is sent. Policies of one name are
// one policy here, also those of different services: give each service a prefix.
//
// While a slot of a Cluster moves to another node, a script can use one log only. A
// decision on a policy with earlier logs then takes a round trip for each log. What other
// processes add to the earlier logs between these round trips is not counted. A counted
// earlier log counts whole, also for a shorter window, and RetryAfter can be too long.
//
// # Calendar limits
//
// A process computes the period around the server's time, and the script checks that its
// own time lies inside. Otherwise the script replies with its time and changes nothing, and
// the process asks once more. So the server's clock decides, and a clock that is wrong
// costs a second round trip where it first matters. A log of calendar limits alone has one
// live entry, in at most 10 kB. It lives until a day after the end of its longest period.
// Beside limits that slide, each entry also holds the units of each period.
//
// A log with calendar limits is no earlier log of another, and has none. A deployment that
// changes the periods of a policy, or the windows beside them, begins empty logs. Keep a
// quota of a month in a policy of its own.
//
// # Versions
//
// The letter after the policy's name in a key is the version of the log's format:
// streamlimit:{…}:api:c1m is a counted log. Two versions of this package with the same
// letter for a layout share its logs, and a limit holds for both together: a rolling
// upgrade, and the way back, hand out no budget. Versions with different letters keep
// logs of their own. The newer one knows the format before its own and counts such
// logs as earlier ones; the older one does not know the newer format. While both run
// on such a log, each admits at most the limit.
//
// The number after {rules} in a key is the version of the rules' format. Versions of this
// package with different numbers have rules of their own: none reads another's.
//
// # Waiting and failures
//
// A decision waits for three things, and only the third says anything about the server:
//
//   - Waiting in this process, for others to finish: at most the wait bound, 250 ms
//     unless [WithWaitBound] sets another. A decision that would wait longer is
//     refused at once with [store.ErrOverloaded]. It does not count against any server.
//   - Building a connection. It happens in the background, for as long as the client
//     allows, and the connection is kept. Requests wait up to a second for the first
//     connection of a process. Later, a server without a connection counts as
//     one that does not answer.
//   - The answer: at most the timeout, 100 ms unless [WithTimeout] sets another, from
//     when the decision is written to a connection. A decision that is not answered by
//     then is an error and counts as a failure of the server.
//
// So a caller waits at most for the wait bound and the timeout together, 350 ms unless
// set otherwise. The first callers of a process can wait a second more, for its first
// connection. A process that is starved of CPU time reads replies late, and the server is
// not to blame. While it is starved, a caller waits for up to four wait bounds, and then
// up to two seconds for a reply that may have arrived.
//
// When a caller's own deadline ends its wait, the limiter's failure mode decides. The
// store still waits for the answer, so a short deadline is not taken for an outage. The
// context of a caller reaches the client only while the caller waits.
//
// A decision is never sent twice when its script may have run, so a request is counted
// at most once. A decision that the server surely did not receive, because its
// connection was broken, is sent on another connection. What the errors of a server mean is in the
// files states.go and handshake.go of this package.
//
// Replication is asynchronous. A failover loses the entries that the lost primary had not
// sent to the replica that takes over. The window can then admit that many units above
// the limit. The entry of a lease can hold up to an eighth of a limit. No other entries
// are lost.
package redisstream
