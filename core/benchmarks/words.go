package main

// words explains those of the tables and goals.
const words = `## Words

- **Peer**: a limiter that is compared. All have the same server, the same limit and, but for go-limiter, the same client.
- **Caller**: a goroutine that waits for its answer before it asks again. All callers of a peer share a process and its client.
- **Exact**: a request is denied when the limit has been admitted in the window that ends now, and only then.
- **One step**: no command of another request comes between those of a decision.
- **Sorted set**: an exact log in a Redis sorted set, one script a decision. **Tutorial**: a log in a stream as tutorials write
  it, command by command. Both are written for this comparison.
- **Warm** keys have been asked for before, **new** keys have not; of **denied** ones every request is over the limit.
- **One hot key**: all requests ask for the same one. **10,000 keys**: they ask for each in turn, all warm. **Zipf, a third
  denied**: they ask for some of 10,000 at random, most of them for few (exponent 1.1), under a limit that denies a third.
- **Crowd**: 200 requests at once. **At a window's boundary**: 4 requests, and 20 each at 1.9, 2.05 and 2.2 s, before and after
  the end of a fixed window that began with the first. **Pressure**: 20 requests every 100 ms, 12 times. All from four processes.
- **Summed**: a log with an entry for each request, of whatever cost. **Coarse**: one of 64 slices of the window.
- **Goals** without a unit are counts, or, "against" another, streamlimit's figure to the other's.
- **Rounds**: peers take turns, and figures are medians of the rounds, ratios those of the rounds' ratios. Throughput and
  latency of one caller have more and shorter rounds. With the monitor and without take turns, of half a second and of a quarter.
- **The whole process** is the server's CPU time, user and system. Of its **commands alone** Redis keeps the time by the wall
  clock, which advances when another process has the processor: that can be more than the CPU time of all.
- **p50, p99, p99.9**: the time within which half, 99 % and 99.9 % of the calls were answered. **Decisions a second** are the
  calls by all the time they took: one long pause of the machine lowers them, and p50 does not show it.

`
