package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// streams are the input and output of a command.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// command is a command of the tool.
type command struct {
	name  string
	about string // one line
	help  string // more lines
	flags func(f *flag.FlagSet) action
}

// action runs a command whose flags have been read.
type action func(ctx context.Context, s streams) error

var commands = []command{
	topCommand, policiesCommand, inspectCommand, resetCommand,
	banCommand, unbanCommand, blockCommand, exemptCommand, overrideCommand, restoreCommand, switchCommand, rulesCommand, digestCommand,
}

// usageError is an error in the use of a command. Its help has the right use.
type usageError struct{ message string }

func (e usageError) Error() string { return e.message }

func usage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// run runs the command in the arguments, and returns the exit code.
func run(ctx context.Context, s streams, args []string) int {
	if len(args) == 0 {
		overview(s.err)
		return exitUsage
	}
	name, args := args[0], args[1:]
	if isHelp(name) {
		if len(args) == 0 {
			overview(s.out)
			return exitOK
		}
		name, args = args[0], []string{"-h"}
	}
	for _, c := range commands {
		if c.name == name {
			return c.run(ctx, s, args)
		}
	}
	fmt.Fprintf(s.err, "streamlimit: there is no command %q; see streamlimit help\n", name)
	return exitUsage
}

func isHelp(word string) bool {
	return word == "help" || word == "-h" || word == "-help" || word == "--help"
}

func (c command) run(ctx context.Context, s streams, args []string) int {
	f := flag.NewFlagSet(c.name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // this package writes errors and help
	f.Usage = func() {}
	do := c.flags(f)
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.explain(s.out, f)
		return exitOK
	case err != nil:
		err = usageError{err.Error()}
	case f.NArg() > 0:
		err = usage("%q is not a flag: write values as -key 192.0.2.1", f.Arg(0))
	default:
		err = do(ctx, s)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(s.err, "streamlimit %s: %v\n", c.name, err)
	if wrong := (usageError{}); errors.As(err, &wrong) {
		fmt.Fprintf(s.err, "See streamlimit help %s.\n", c.name)
		return exitUsage
	}
	return exitFailure
}

func overview(w io.Writer) {
	fmt.Fprint(w, "streamlimit shows and manages rate limits on a Redis.\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  streamlimit %-10s %s\n", c.name, c.about)
	}
	fmt.Fprint(w, "\nstreamlimit help COMMAND has its flags.\n", conventions)
}

func (c command) explain(w io.Writer, f *flag.FlagSet) {
	fmt.Fprintf(w, "streamlimit %s: %s.\n\n%s\n\nFlags:\n", c.name, c.about, strings.TrimSpace(c.help))
	f.SetOutput(w)
	f.PrintDefaults()
	fmt.Fprint(w, conventions)
}

const conventions = `
Write keys as decisions show them: an address, name=value, or the digest of a
credential, such as x-api-key=<digest>, which the command digest makes. A service with a prefix needs -prefix.
With -json, times are Unix milliseconds and durations milliseconds.
Exit codes: 0 done, 1 failed, 2 wrong use.
`
