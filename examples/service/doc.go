// Package service has what the example servers share: settings, policies, data, response
// bodies, and the start and stop of a process. The programs in examples/gin,
// examples/echo, examples/echo5, examples/fiber and examples/fiber3 show the wiring of
// their framework.
package service
