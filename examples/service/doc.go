// Package service is what the example servers share: settings, policies, data,
// the shapes of answers, and the life of a process. What is left for examples/gin,
// examples/echo, examples/echo5, examples/fiber and examples/fiber3 is the wiring of
// their framework, which is what they are there to show.
package service
