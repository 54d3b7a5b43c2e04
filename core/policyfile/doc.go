// Package policyfile reads policies from a YAML file and from the environment,
// and follows the file while a program runs.
//
// A policy is a limit, a list of them, or a mapping of settings:
//
//	policies:
//	  stocks: 500/minute
//	  search: [20/second, 200/minute]
//	  tokens:
//	    limits: 10000/minute   # or a list
//	    shadow: true           # counts and reports, denies nothing; false enforces
//	    header: llm            # the policy's name in the response fields
//	    unit: tokens           # the name of the units; requests unless it is set
//	    failure: open          # when the store does not answer: open, closed or local
//	    cost: true             # requests may cost more than 1 unit
//	    refund: 10s            # units can be given back for so long; true is half the longest window
//	  gateway:
//	    limits: 100000/minute
//	    lease: 1s              # processes take units ahead, and hand them out themselves; 0 for none
//	  downloads:
//	    limits: 1000000/day
//	    slices: 64             # logs of at most 65 entries; 0 is an entry for each request
//	  quota:
//	    limits: 1000000/month(15)@Europe/Berlin # months that begin on the 15th
//	  uploads:
//	    concurrency: {max: 5, hold: 30s} # requests in flight, in place of limits
//
// Limits are written as [core.ParseLimit] reads them. The settings are documented at
// [core.Shadow] and [core.Enforce], [core.FieldName], [core.Unit], [core.OnStoreFailure],
// [core.VariableCost], [core.Refundable], [core.Coarse], [core.Lease] and
// [core.NewConcurrency].
//
// # Policies of the program
//
// A program gives the policies that it uses to [Read], [Environ] and [Watch]. Then no
// other names may occur, and the file changes the program's policies. Limits replace
// all limits of a policy, each setting replaces that setting, and the rest stays. The
// file can't remove what the program needs: cost: false and refund: false are errors
// for a policy that has the setting in the program.
//
// Without policies of the program every name makes a new policy, which needs
// limits.
//
// Everything in a file must have a meaning. A service that skips a misspelled name would
// run with unintended limits. An error is one line. It has the place of the mistake, and
// what to write instead:
//
//	policies.yaml:7: search: "20/fortnight": unknown unit, use s, m, h, d or a Go duration
//
// A file is one YAML document of at most [MaxSize] bytes, in a regular file. Anchors,
// aliases, tags and merge keys are not read. Lines may end as they do on any system.
//
// # Environment
//
// [Environ] reads limits from variables such as
//
//	POLICY_SEARCH="20/second, 200/minute"
//
// The order is program, file, environment: the later takes precedence. A variable
// replaces the limits that the file gives to a policy, and does not change its other
// settings. [Watch] does that with [WithEnviron]. A program that reads only once writes
//
//	file, err := policyfile.Read("policies.yaml", known...)
//	environ, err := policyfile.Environ("POLICY_", os.LookupEnv, slices.Concat(known, file)...)
//	err = limiter.Replace(slices.Concat(file, environ)...)
//
// since the last of several policies with one name applies.
//
// [Watch] replaces the limiter's policies when the file changes. Requests that were
// counted before a change still count after it. Some changes start new logs beside the
// earlier ones: another longest window, one limit instead of several, and settings such
// as refund and lease. The watcher's log line names them. See [core.Limiter.Replace].
//
// After the limiter's first decision, a file that changes calendar periods, or the windows
// beside them, is an error and changes no policy: restart the process, or use a policy of
// another name. A policy that is removed from the file gets the limits of the program
// again. Requests whose cost is above a lowered limit are then errors: see [core.ErrCost].
package policyfile
