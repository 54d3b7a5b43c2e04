// Package monitor shows what limiters decide: live, on a page, for all processes
// on one store together.
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
// relative. Mount the page without the slash at the end as well, since what a router
// redirects to may be another path for a proxy's clients.
//
// # Who gets in
//
// [WithPassword] asks for a password, and [WithAuthorize] asks your service.
// Without either, [New] makes a random token and logs it once:
//
//	msg="streamlimit: add this to the address of the monitor to open it" link=?token=...
//
// The handler does not know the address of the page, so the log line has the
// query alone. [WithLink] passes the query to a program that knows the address.
// The link sets a cookie, for the path of the page, and redirects to an address
// without the token. Scripts send "Authorization: Bearer" and the token instead.
//
// Nobody gets in by where a request seems to come from. A proxy on this machine
// connects from a loopback address like a person here, and no header field tells
// them apart. A site that makes its own name lead here (DNS rebinding) lacks the
// cookie, which belongs to another name.
//
// Each process makes its own token, and a new one when it starts. A service of
// several processes behind one address needs a password. Whoever reads the log can
// follow the link, and so can readers of the log of a proxy or router that writes
// down queries.
//
// Wrong guesses are counted by client, as the limiter counts clients by address:
// behind its trusted proxies, and IPv6 by /64. After 20 in a minute, the client's
// wrong guesses get 429 instead of 401, and a line is logged. The right password or
// token always gets in, whoever guesses at the time, so every guess is looked at
// and the secret has to be long.
//
// A core judges at most 300,000 guesses a second. At that rate, half of all tokens
// (130 bits) take 7*10^25 years. Half of all random passwords of 12 letters and
// digits (71 bits) take 170 million years, of 8 (48 bits) 11 years, and a word from
// a list of a million takes seconds.
//
// Only the page itself can act. A request that changes something must be sent as
// application/json, which other sites can't do without asking first, and the
// browser must not say that another site sends it (Sec-Fetch-Site, Origin). Over
// plain HTTP browsers send Origin alone, so a proxy must pass the Host that it was
// asked for; in nginx: proxy_set_header Host $http_host.
//
// Every response is Cache-Control: no-store, and none has the password, the token
// or the address of a referrer.
//
// # What it costs
//
// A decision costs its request about 100 ns and no memory. Each process adds an
// entry a second to the store's feed (see [Feed]), and none when nothing has
// happened for a minute. Processes read the feed only while somebody watches.
//
// A store that does not answer slows no request and loses no decision of a page's own
// process, which are counted as what they were: allowed or denied. What the other
// processes do meanwhile is not seen. The page says so, since when, and that its figures
// are those of one process. What they would have told is lost.
//
// # What it counts
//
// Each decision counts once under its policy, by its result and by what decided: see
// [Counts]. Requests count once, whatever number of policies and limits they are under,
// as the gravest of their results: in the figures on top, by route and by process.
//
// The keys with most requests of the last minute are estimates, each with its bound: see
// [TopKey]. Policies beyond 128, and routes beyond 256, count as "(other)".
//
// # Keys and credentials
//
// The page finds a key by a part of it, or by the credential that it is the digest of, as
// this process's limiter makes them. What is typed is sent in the body of a request. It is
// not kept, logged, or part of an address.
package monitor
