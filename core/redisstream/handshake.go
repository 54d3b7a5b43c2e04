package redisstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// handshakes are the errors by which servers refuse a new connection: how each begins,
// and what else is in it. go-redis returns the error of HELLO, AUTH, SELECT or CLIENT
// SETNAME as the error of the command that needs the connection, and does not mark
// it. So the table lists only errors that no command of the store itself can get.
// NOPERM names the command that the user lacks.
var handshakes = []struct{ prefix, contains, help string }{
	{"WRONGPASS", "", "the user or the password is wrong, or the user is off"},
	{"invalid password", "", "the password is wrong"}, // of proxies, and before Redis 6
	{"AUTH <password> called without", "", "a password is set here, and the server has none: leave it out"},
	{"Client sent AUTH, but no password is set", "", "a password is set here, and the server has none: leave it out"},
	{"NOAUTH", "", noPassword},
	{"Protocol error: unauthenticated", "", noPassword}, // of more than 10 words, or a long one
	{"NOPERM", "'select'", "the user lacks the command select: grant it, or use database 0"},
	{"NOPERM", "'client", "the user lacks the command client|setname: grant it, or set no client name"},
	{"NOPERM", "'cluster", "the user lacks the command cluster|slots, which the client of a Cluster needs"},
	{"unknown command", "'select'", "the server has database 0 only: set no other"},
	{"unknown command", "'client'", "the server knows no client names: set none"},
	{"DB index is out of range", "", "the server has fewer databases: use a lower number"},
	{"SELECT is not allowed in cluster mode", "", "the server is in cluster mode and has database 0 only: set no other"},
	{"Client names cannot contain", "", "the client name must be of printable ASCII without spaces"},
	{"max number of clients", "", "the server has no room for more connections: raise its maxclients, or lower the clients' pool sizes"},
	{"DENIED", "", "the server is in protected mode: set a password on it"},
	{"This instance has cluster support disabled", "", "the server is not in cluster mode: use a plain client, such as redis://host:port"},
	{"unknown command", "'sentinel'", "this is the address of a server, not of a sentinel, whose port is usually 26379"},
}

const noPassword = "no password is set here, and the server wants one"

// notRedis starts the error of go-redis for a reply to HELLO that does not follow the
// protocol, such as the reply of an HTTP server. go-redis has no type for it.
const notRedis = "redis: can't parse map reply: "

// setupError reports whether err is about building a connection, and retrying will not
// mend it soon. It returns what to do about it. The server has not seen the command,
// so the error counts as a failure of the server, and never as its answer.
func setupError(err error) (help string, ok bool) {
	var refusal *refusal
	if errors.As(err, &refusal) {
		return refusal.help, true
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		if reply == redis.Nil && err != error(reply) { //nolint:errorlint // a bare Nil is the answer to a command
			return "the sentinels know no primary of that name", true
		}
		for _, h := range handshakes {
			if redis.HasErrorPrefix(err, h.prefix) && strings.Contains(reply.Error(), h.contains) {
				return h.help, true
			}
		}
		return "", false
	}
	var (
		host    *net.DNSError
		cert    *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		record  tls.RecordHeaderError
		op      *net.OpError
		address *net.AddrError
	)
	switch {
	case errors.As(err, &host) && host.IsNotFound:
		return "there is no host of that name: check the address", true
	case errors.As(err, &address):
		return "the address is not that of one server: write host:port", true
	case errors.As(err, &cert), errors.As(err, &unknown):
		return "the server's certificate is not trusted: check its name and authority", true
	case errors.As(err, &record):
		return "the server does not use TLS on this port: connect without", true
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert
		return "the server refuses the TLS connection: check its versions and if it wants a client certificate", true
	case err != nil && strings.HasPrefix(err.Error(), notRedis):
		return "the server does not speak the protocol of Redis: check the port", true
	}
	return "", false
}

// explained returns err with what to do about it.
func explained(help string, err error) error {
	var refusal *refusal
	if errors.As(err, &refusal) {
		err = refusal.err
	}
	if errors.Is(err, redis.Nil) {
		return errors.New(help) // a Nil inside would pass for the answer to a command
	}
	return fmt.Errorf("%s: %w", help, err)
}

// greeter is a [redis.Hook] that keeps the errors of new connections. It is for the
// clients that [Open] makes. By default go-redis writes a log line for each failed
// dial, to a logger that the whole program shares. And it continues after each error
// of HELLO, since old servers lack it: a server that is full or in protected mode
// then seems to hang up without a reason.
type greeter struct{}

// DialHook gives go-redis a connection that fails for one that can't be made.
func (greeter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err != nil {
			return undialed{err: &dialError{err}}, nil
		}
		return conn, nil
	}
}

// ProcessHook stops the handshake when the server refuses HELLO. It sends HELLO once:
// go-redis would repeat it on the connection that has failed.
func (greeter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		hello, ok := cmd.(*redis.MapStringInterfaceCmd) // only HELLO is one
		if !ok {
			return next(ctx, cmd)
		}
		err := next(ctx, unrepeated{hello})
		var dial *dialError
		if errors.As(err, &dial) {
			return dial
		}
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return &refusal{"the server closes new connections: it may want TLS, as with rediss, or be behind a proxy that has no server", err}
		}
		if help, ok := setupError(err); ok {
			return &refusal{help, err}
		}
		return err
	}
}

// ProcessPipelineHook implements [redis.Hook].
func (greeter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// unrepeated is a command that the client sends only once.
type unrepeated struct{ redis.Cmder }

// NoRetry tells the client not to send the command again after a failure.
func (unrepeated) NoRetry() bool { return true }

// refusal is the error of a HELLO that a server has refused. It does not unwrap, because
// go-redis would continue if it found the error of a server inside.
type refusal struct {
	help string
	err  error
}

func (r *refusal) Error() string { return r.err.Error() }

// dialError is the error of a dial. go-redis strips the outermost wrapper from an error
// of a handshake, which is this one.
type dialError struct{ err error }

func (d *dialError) Error() string { return d.err.Error() }
func (d *dialError) Unwrap() error { return d.err }

// undialed is a connection that could not be made.
type undialed struct{ err error }

func (u undialed) Read([]byte) (int, error)  { return 0, u.err }
func (u undialed) Write([]byte) (int, error) { return 0, u.err }

// SyscallConn implements [syscall.Conn]. Its error keeps go-redis from using the
// connection later, when its caller has left.
func (u undialed) SyscallConn() (syscall.RawConn, error) { return nil, u.err }

func (undialed) Close() error                     { return nil }
func (undialed) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (undialed) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (undialed) SetDeadline(time.Time) error      { return nil }
func (undialed) SetReadDeadline(time.Time) error  { return nil }
func (undialed) SetWriteDeadline(time.Time) error { return nil }
