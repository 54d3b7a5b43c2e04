// Benchmarks measures streamlimit and its peers in one run, alternating, on a
// redis-server that it starts:
//
//	go run ./core/benchmarks                             # all of it, 15 minutes
//	go run ./core/benchmarks -quick                      # all of it, coarsely, 2 minutes
//	go run ./core/benchmarks -only cpu -peers redis_rate # one part, against one peer
//
// Machines are noisy, so that figures are medians over rounds in which each peer
// has its turn, and ratios are medians of the rounds' own ratios.
package main
