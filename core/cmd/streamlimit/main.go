package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // for calendar limits, on machines without zone data

	"github.com/redis/go-redis/v9/logging"
)

func main() {
	logging.Disable() // go-redis would log into the screen
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}
