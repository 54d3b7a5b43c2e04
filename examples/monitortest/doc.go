// Package monitortest has only tests. They run the monitor's page in a real browser,
// behind a real nginx, with real Redis servers. They need Chromium or Chrome, and nginx.
//
//	go test ./monitortest # from the examples module
//
// With SCREENSHOTS=1 they write core/monitor/screenshots, in six minutes:
//
//	SCREENSHOTS=1 go test -run 'Busy|ManyPolicies|Outage|KeyPage' ./monitortest
package monitortest
