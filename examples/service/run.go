package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// shutdownTimeout bounds the time for requests in flight at the shutdown.
const shutdownTimeout = 10 * time.Second

// Run serves on addr until the process gets SIGTERM or SIGINT. When it is ready it
// prints the address, and the link to the monitor if there is no password.
//
// At the end Run ends the monitor's streams, and calls shutdown. shutdown must stop
// accepting connections, and wait for the requests in flight. Requests that take longer
// than ten seconds are cut off. A second signal ends the process at once. The error is
// nil after a signal.
func (l *Limits) Run(addr string, serve func(net.Listener) error, shutdown func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- serve(listener) }()
	at := "http://" + reachable(listener.Addr())
	ready := "listening on " + at + "\n"
	if l.link != "" {
		ready += "monitor: " + at + mount + "/" + l.link + "\n"
	}
	fmt.Print(ready)

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stop()
	slog.Info("stopping: finishing the requests that run")
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	_ = l.recorder.Close() // always nil; a shutdown would wait for its streams
	if err := shutdown(ctx); err != nil {
		slog.Warn("some requests did not finish in time", "error", err)
	}
	return nil
}

// reachable returns the address for a browser. For a server that listens on all
// interfaces it is the loopback address.
func reachable(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return addr.String()
}

// settingsError is an error of wrong settings, as opposed to another failure.
type settingsError struct{ err error }

func (e *settingsError) Error() string { return e.err.Error() }
func (e *settingsError) Unwrap() error { return e.err }

// Exit ends the process with the exit code of err: 2 for wrong settings, 0 after help,
// and 1 otherwise.
func Exit(err error) {
	var wrong *settingsError
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case errors.As(err, &wrong):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
