package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/streamlimit/streamlimit/core/monitor"
)

var topCommand = command{
	name:  "top",
	about: "shows live what all processes decide",
	help: `
The processes need a recorder of package monitor. The top line counts requests. The
policies that deny most come first. They show decisions a second, allowed above denied. Keys and shares are of the last minute.

	tab, arrows   another table, scroll
	p             hold the picture, and continue
	q, Ctrl-C     end

With -json it writes a picture a second, one on each line. With -once it writes only one.
NO_COLOR in the environment turns colors off.

	streamlimit top
	streamlimit top -once | jq .top.denied`,
	flags: func(f *flag.FlagSet) action {
		t := targetFlags(f)
		once := f.Bool("once", false, "write one picture as JSON")
		return func(ctx context.Context, s streams) error {
			in, out, ok := terminals(s)
			if !t.json && !*once && !ok {
				return usage("this is not a terminal: use -json or -once")
			}
			store, err := t.open()
			if err != nil {
				return err
			}
			limiter := limiterOn(store)
			defer limiter.Close()
			reader, err := monitor.NewReader(store)
			if err != nil {
				return err
			}
			switch w := (&watcher{target: t, limiter: limiter, reader: reader}); {
			case *once:
				return w.once(ctx, s.out)
			case t.json:
				return w.stream(ctx, s.out)
			default:
				return show(ctx, w, in, out)
			}
		}
	},
}

// terminals returns the streams' terminals, if they are terminals.
func terminals(s streams) (in, out *os.File, ok bool) {
	in, okIn := s.in.(*os.File)
	out, okOut := s.out.(*os.File)
	ok = okIn && okOut && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd()))
	return in, out, ok
}

// show runs the terminal until the user quits. Reads from Redis run at the same time.
func show(ctx context.Context, w *watcher, in, out *os.File) (err error) {
	tty, err := openTerminal(in, out)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	defer func() {
		if e := tty.close(); err == nil {
			err = e
		}
	}()
	news, stop := w.start(ctx)
	defer stop()
	screen := newScreen(w.target.name(), os.Getenv("NO_COLOR") == "")
	sizes := time.NewTicker(200 * time.Millisecond) // in place of SIGWINCH, which Windows does not have
	defer sizes.Stop()
	for {
		if err := tty.draw(screen); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case r := <-news:
			screen.take(r)
		case k, ok := <-tty.keys:
			if !ok || screen.press(k) {
				return nil
			}
		case <-sizes.C:
		}
	}
}
