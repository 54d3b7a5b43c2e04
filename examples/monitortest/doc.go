// Package monitortest holds no code but tests: of the monitor's page, in a real
// browser, behind a real nginx, before real Redis servers. They need Chromium or
// Chrome, and nginx.
//
//	go test ./monitortest                          # from the examples module
//	SCREENSHOTS=1 go test -run Screen ./monitortest   # writes core/monitor/screenshots, in six minutes
package monitortest
