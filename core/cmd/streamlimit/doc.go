// Streamlimit is the command line tool for limits on a Redis. It shows the decisions of
// all processes, and manages one key or policy at a time.
//
//	streamlimit top                                      # live, in a terminal
//	streamlimit policies                                 # what the processes limit
//	streamlimit inspect -policy search -key 192.0.2.1    # one key's use and log
//	streamlimit reset -policy search -key 192.0.2.1
//	streamlimit ban -key 192.0.2.1 -for 10m
//	streamlimit unban -key 192.0.2.1
//	streamlimit block -network 198.51.100.0/24
//	streamlimit exempt -network 203.0.113.0/28 -for 1h
//	streamlimit digest -name x-api-key                   # of the API key on standard input
//	streamlimit override -policy search -limits 5/second,1000/hour
//	streamlimit restore -policy search
//	streamlimit switch -policy search -to off            # a kill switch; or shadow, or on
//	streamlimit rules                                    # overrides, bans and others
//
// Each command except digest takes -redis URL, or the environment's REDIS_URL. All take
// -json. Recorders of package monitor publish the decisions of processes and the
// policies' limits. The other commands work without a recorder.
//
// In a clone: go run ./core/cmd/streamlimit top
package main
