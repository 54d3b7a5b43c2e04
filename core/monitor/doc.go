// Package monitor shows what limiters decide: live, on a page, for all processes
// on one store together.
//
//	recorder := monitor.NewRecorder(store)
//	limiter := core.New(store, core.WithObserver(recorder))
//	page := monitor.New(limiter, recorder, monitor.WithPassword(password))
//	mux.Handle("/ratelimit/", http.StripPrefix("/ratelimit", page))
//	defer recorder.Close()
//
// The page and its addresses are relative, so it can be mounted anywhere, with
// any framework that takes an http.Handler. Without [WithPassword] or
// [WithAuthorize] only clients on this machine see it.
//
// # What it costs
//
// A decision costs its request about 100 ns and no memory. Each process adds an
// entry a second to the store's feed (see [Feed]), and none while nothing
// happens. Processes read the feed only while somebody watches.
//
// A store that does not answer slows no request and loses no decision: only what
// the other processes would have been told is lost. Each page goes on showing its
// own process.
//
// # What it counts
//
// Each decision counts as one of the [Counts], exactly. Those of the keys with
// most requests of the last minute are estimates, each with its bound: see
// [TopKey]. Policies beyond 128, and routes beyond 256, count as "(other)".
package monitor
