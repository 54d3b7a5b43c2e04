// Package monitor shows the decisions of limiters on a live page, for all processes on
// one store together.
//
//	recorder := monitor.NewRecorder(store)
//	limiter := core.New(store, core.WithObserver(recorder))
//	page := monitor.New(limiter, recorder, monitor.WithPassword(password))
//	mux.Handle("/ratelimit/", http.StripPrefix("/ratelimit", page))
//	mux.Handle("/ratelimit", http.StripPrefix("/ratelimit", page))
//	defer recorder.Close()
//
// The page can be mounted anywhere, with any framework that takes an
// http.Handler, and behind proxies that change the path: all of its links are
// relative. Mount the page without the final slash as well: a router would redirect
// to a path that can be wrong for a proxy's clients.
//
// # Who gets in
//
// [WithPassword] asks for a password, and [WithAuthorize] asks your service. The
// browser asks for a user name beside the password. Any name is accepted, also none.
// Without either, [New] makes a random token and logs it once:
//
//	msg="streamlimit: add this to the address of the monitor to open it" link=?token=...
//
// The handler does not know the address of the page, so the log line has the
// query alone. [WithLink] passes the query to a program that knows the address.
// The link sets a cookie, for the path of the page, and redirects to an address
// without the token. Scripts send "Authorization: Bearer" and the token instead.
//
// The address of a request does not let anybody in. A proxy on this machine connects
// from a loopback address like a local person, and no header field distinguishes the
// two. A site that points its own name at this machine (DNS rebinding) lacks the
// cookie, which belongs to another name.
//
// Each process makes its own token, and a new one when it starts. A service of
// several processes behind one address needs a password. Whoever reads the log can
// follow the link. So can readers of the log of a proxy or router that logs queries.
//
// Wrong guesses are counted by client, as the limiter counts clients by address:
// behind its trusted proxies, and IPv6 by /64. After 20 in a minute, the client's
// wrong guesses get 429 instead of 401, and a line is logged. The right password or
// token always gets in, even while others guess. Every guess is therefore checked, and
// the secret has to be long.
//
// A CPU core checks at most 300,000 guesses a second. At that rate, half of all tokens
// (130 bits) take 7*10^25 years. Half of all random passwords of 12 letters and
// digits (71 bits) take 170 million years, of 8 (48 bits) 11 years, and a word from
// a list of a million takes seconds.
//
// Only the page itself can act. A request that changes something must be sent as
// application/json, which other sites can't do without a preflight. The
// browser must not name another site as its origin (Sec-Fetch-Site, Origin). Over
// plain HTTP browsers send only Origin, so a proxy must pass the Host that it
// received.
//
// Every response has Cache-Control: no-store. No response contains the password, the
// token or the address of a referrer.
//
// # Behind nginx
//
// For a page at /admin/limits/ whose service listens on port 8080 and has the page at
// /ratelimit/:
//
//	location /admin/limits/ {
//		proxy_pass http://127.0.0.1:8080/ratelimit/;  # the final slash replaces the path
//		proxy_set_header Host $http_host;             # with the port, for actions
//		proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
//	}
//
// The limiter needs [core.WithTrustedProxies] with the address of nginx. Otherwise all
// clients share the count of wrong guesses, and rules and logs have nginx as the client.
//
// # Actions
//
// The page and the command line tool can reset a log, and ban, block and exempt a client.
// They can override the limits of a policy, and switch policies off or to shadow. The
// rules of a [core.Rule] hold for all processes.
//
// Scripts send actions by POST, with Content-Type application/json and the password by
// HTTP Basic. The answer is 204, or a problem document:
//
//	curl -u :PASSWORD -H 'Content-Type: application/json' \
//	  -d '{"key": "203.0.113.7", "seconds": 600}' https://example.com/ratelimit/api/ban
//
//	api/ban       {"key": "user=ann", "seconds": 600}
//	api/unban     {"key": "user=ann"}
//	api/block     {"key": "198.51.100.0/24", "seconds": 600}
//	api/unblock   {"key": "198.51.100.0/24"}
//	api/exempt    {"key": "user=monitoring"}
//	api/unexempt  {"key": "user=monitoring"}
//	api/reset     {"policy": "api", "key": "user=ann"}
//	api/override  {"policy": "api", "limits": ["5/second"]}
//	api/restore   {"policy": "api"}
//	api/switch    {"policy": "api", "mode": "off", "seconds": 600}
//
// A ban needs seconds, a year (31536000) at most. A block, an exemption and a switch
// without seconds have no end. The mode is "off", "shadow" or "on", and the policy "*"
// stands for all. The key is as decisions and the page show it, such as
// x-api-key=<digest>: see "Who is counted" in package core. With
// [core.WithHashedAddresses], an address in a ban, an unban or a reset stands for the key
// that its client is counted by. A block or an exemption of an address is a rule on a
// network, and keeps the address. The log line of an action has the key.
//
// # In a framework
//
// The page is an http.Handler below its own path:
//
//	page := http.StripPrefix("/ratelimit", monitor.New(limiter, recorder))
//	router.Any("/ratelimit/*path", gin.WrapH(page))          // Gin
//	e.Any("/ratelimit/*", echo.WrapHandler(page))            // Echo
//	app.All("/ratelimit/*", adaptor.HTTPHandler(page))       // Fiber
//
// Mount it at "/ratelimit" as well, without the slash.
//
// Limits of the whole app apply to the page too, in Echo in any order. A client that is
// limited or banned then does not reach the page. WithSkip of the adapter leaves the page out:
//
//	echolimit.WithSkip(func(c echo.Context) bool { return strings.HasPrefix(c.Path(), "/ratelimit") })
//
// Pages that are open hold up a server's Shutdown. With net/http's server, end them by
//
//	server.RegisterOnShutdown(func() { recorder.Close() })
//
// Elsewhere call [Recorder.Close] before the shutdown. Fiber cannot stream to the page,
// which polls each second instead.
//
// # What it costs
//
// A decision costs its request about 100 ns and no memory. Each process adds an
// entry a second to the store's feed (see [Feed]), and none when nothing has
// happened for a minute. Processes read the feed only while somebody watches.
//
// A store that does not answer slows no request. The page still counts all decisions of
// its own process as allowed or denied. It does not show the other processes during that
// time, and their figures of that time are lost. The page shows a note that its figures
// are those of one process, and the time since when.
//
// # What it counts
//
// Each decision counts once under its policy, by its result and by what decided: see
// [Counts]. The figures on top, by route and by process count each request once, by the
// gravest of its results, however many policies and limits apply to it.
//
// The keys with most requests of the last minute are estimates, each with its bound: see
// [TopKey]. Policies beyond 128, and routes beyond 256, count as "(other)".
//
// # Keys and credentials
//
// The page finds a key by a part of it, or by a credential, from which this process's
// limiter makes the digest. The search text is sent in the body of a request. It is not
// kept, not logged, and not part of an address.
package monitor
