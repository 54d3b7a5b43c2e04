package redisstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/store"
)

// transport sends commands through the client and gives each the time that it
// may take. It may assume nothing about the layers above it, and decides
// nothing: the batcher decides which command is sent when.
//
// A command has two times of its own. Until it is written to a connection it
// waits in this process, for a connection from the pool or for a new one. Then
// the server has the timeout to answer. The second alone says anything about the
// server, and only the client knows when it begins: see [request].
type transport struct {
	rdb     redis.UniversalClient
	timeout time.Duration // for a server's answer
	closed  atomic.Bool

	// keepsDeadlines reports that the client obeys the deadline of a context. Then
	// a lone caller can wait for the answer itself, without another goroutine.
	keepsDeadlines bool

	answered func() // is called after each answer of a server, with an error or not
}

// listenLonger is how long the transport listens for a reply after the timeout. A late reply
// keeps its connection.
const listenLonger = time.Second

// glance is how long the client looks for a reply if it begins to read after the deadline.
const glance = 5 * time.Millisecond

// connectTimeout bounds the wait for the first answer on a new connection. The
// client bounds its dial and its handshake.
const connectTimeout = 10 * time.Second

// staleConnections is how many broken connections of the pool an attempt to
// connect gets over.
const staleConnections = 8

// request is a command on its way: the context that the client gets, and the
// command's last argument. The client asks an argument for its text when it
// writes the command to a connection. So the request knows when it was sent, and
// its deadline begins then.
type request struct {
	context.Context
	unsent time.Time     // the deadline until the command is written; zero for none
	listen time.Duration // how long to wait for the reply, from when the command was written
	state  atomic.Int64  // notSent, called off, or when the command was written: see sentAt
	text   []byte        // of the last argument
	digits [20]byte      // of a number, in text
}

const (
	notSent   = 0
	calledOff = -1
)

// epoch is the time from which requests count.
var epoch = time.Now()

var errCalledOff = errors.New("called off before it was sent")

// Deadline implements [context.Context] for the client. The client asks for it before it
// writes, and again before it reads. In a starved process the deadline can end between
// the two, while the reply arrives: the client looks at the connection nevertheless.
func (f *request) Deadline() (time.Time, bool) {
	if at, sent := f.sentAt(); sent {
		due := at.Add(f.listen)
		if soonest := time.Now().Add(glance); soonest.After(due) {
			due = soonest
		}
		return due, true
	}
	return f.unsent, !f.unsent.IsZero()
}

// MarshalBinary returns the text of the last argument, which the client writes.
func (f *request) MarshalBinary() ([]byte, error) {
	for {
		state := f.state.Load()
		if state == calledOff {
			return nil, errCalledOff
		}
		if f.state.CompareAndSwap(state, max(1, int64(time.Since(epoch)))) {
			return f.text, nil
		}
	}
}

// markSent notes that the command is sent now, for one whose last argument is a key,
// which the client itself has to read.
func (f *request) markSent() { f.state.Store(max(1, int64(time.Since(epoch)))) }

// String returns what logs and traces of the client show for the argument.
func (f *request) String() string { return string(f.text) }

// sentAt returns when the command was written last.
func (f *request) sentAt() (at time.Time, sent bool) {
	if state := f.state.Load(); state > notSent {
		return epoch.Add(time.Duration(state)), true
	}
	return time.Time{}, false
}

// again notes that the command, or the next one, is yet to be written. It reports
// whether the request goes on: not if it was called off.
func (f *request) again() bool {
	for {
		state := f.state.Load()
		if state == calledOff {
			return false
		}
		if f.state.CompareAndSwap(state, notSent) {
			return true
		}
	}
}

// wasSent reports whether the command was written to a connection.
func (f *request) wasSent() bool { return f.state.Load() > notSent }

// callOff keeps the command from being written, and reports whether it was in
// time for that.
func (f *request) callOff() bool {
	return f.state.CompareAndSwap(notSent, calledOff) || f.state.Load() == calledOff
}

// attach makes the request the last argument of a call.
func (f *request) attach(call []any) {
	last := len(call) - 1
	switch v := call[last].(type) {
	case int64:
		f.text = strconv.AppendInt(f.digits[:0], v, 10)
	case int:
		f.text = strconv.AppendInt(f.digits[:0], int64(v), 10)
	case string:
		f.text = []byte(v)
	case []byte:
		f.text = v
	case *request: // an earlier one, which was not sent
		f.text = v.text
	default:
		panic(fmt.Sprintf("redisstream: an argument of type %T", v))
	}
	call[last] = f
}

// send runs a script, in one round trip unless the server refuses to run it so.
// It returns when the client does.
func (t *transport) send(f *request, sc *script, call []any) ([]int64, error) {
	if t.closed.Load() {
		return nil, store.ErrClosed
	}
	f.attach(call)
	if !f.again() {
		return nil, errCalledOff
	}
	others := -1 // connections to try after one that leads nowhere; below 0 until they are counted
	for {
		cmd := newOnce(f, call)
		err := t.process(f, cmd)
		if answered(err) {
			t.answered()
		}
		if err == nil {
			return cmd.Val(), nil
		}
		what, err := stateOf(err)
		if what == down && !answered(err) && neverArrived(err) {
			what = elsewhere
		}
		switch {
		case what == withSource && call[0] == "evalsha":
			call = slices.Clone(call)
			call[0], call[1] = "eval", sc.source
		case what == withoutScratch && call[2] == 2:
			call = slices.Delete(slices.Clone(call), 4, 5)
			call[2] = 1
		case what == elsewhere && others != 0:
			if !f.again() {
				return nil, errCalledOff
			}
			if others < 0 {
				others = int(t.rdb.PoolStats().IdleConns) + 1
			}
			others--
		case late(err) && !answered(err):
			if _, sent := f.sentAt(); sent {
				return nil, t.noAnswer()
			}
			return nil, errNoConnection
		default:
			return nil, err
		}
	}
}

// neverArrived reports whether the error is that of a connection that was found
// dead while the command was written. A server never runs a part of a command,
// so it may be sent again on another connection.
func neverArrived(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "write" && !op.Timeout()
}

// connect makes sure of a connection to the server that has a log, and returns
// how long the server took to answer on it. It reads a bit of the log. A
// connection of the pool that has broken meanwhile is followed by another.
func (t *transport) connect(log string) (trip time.Duration, err error) {
	for stale := staleConnections; stale >= 0; stale-- {
		if t.closed.Load() {
			return 0, store.ErrClosed
		}
		// A connection that was dropped without a word answers nothing. The last try has
		// the time that a new one may need.
		f := request{Context: context.Background(), listen: t.timeout}
		if stale == 0 {
			f.listen = connectTimeout
		}
		call := []any{"xrange", log, "-", "+", "count", 1}
		f.attach(call)
		err = t.process(&f, unrepeated{redis.NewXMessageSliceCmd(&f, call...)})
		at, sent := f.sentAt()
		if sent && answered(err) {
			t.answered()
			return time.Since(at), nil
		}
		if !sent {
			break
		}
	}
	_, err = stateOf(err)
	return 0, err
}

// command sends a command that is not a script.
func (t *transport) command(f *request, cmd redis.Cmder) error {
	if t.closed.Load() {
		return store.ErrClosed
	}
	err := t.process(f, cmd)
	switch {
	case answered(err):
		t.answered()
	case late(err):
		return t.noAnswer()
	}
	return err
}

// process has the client run a command. Replies that no server would send, such
// as an array of 2^60 elements, make the client panic.
func (t *transport) process(ctx context.Context, cmd redis.Cmder) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the client of Redis panicked: %v", r)
		}
	}()
	err = t.rdb.Process(ctx, cmd)
	if cluster, ok := t.rdb.(*redis.ClusterClient); ok && err != nil && !errors.Is(err, redis.Nil) && !errors.Is(err, errCalledOff) {
		// The client reads the map of slots only once a minute, and when a server
		// redirects it. It does not do so when a server is down.
		if what, _ := stateOf(err); what == down {
			cluster.ReloadState(ctx)
		}
	}
	return err
}

// late reports whether the error is that a reply did not come in time.
func late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// noAnswer is the error of a decision that was sent and not answered in time.
func (t *transport) noAnswer() error {
	return fmt.Errorf("no answer within %v: %w", t.timeout, context.DeadlineExceeded)
}

var errNoConnection = errors.New("no connection to Redis")

// keepsDeadlines reports whether the client obeys the deadline of a context. By
// default go-redis ignores it while it reads and writes.
func keepsDeadlines(rdb redis.UniversalClient) bool {
	switch c := rdb.(type) {
	case *redis.Client:
		return c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return c.Options().ContextTimeoutEnabled
	case *redis.Ring:
		return c.Options().ContextTimeoutEnabled
	}
	return false
}
