package redistest

import (
	"bufio"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Proxy simulates the network between clients and a server. At first it passes on
// everything. Its methods add faults at any time, also for existing connections. It reads
// the Redis protocol, so it does not support TLS, subscriptions and replicas.
type Proxy struct {
	Addr string // host:port, for clients

	t      testing.TB
	target string

	mu       sync.Mutex // guards the fields below
	listener net.Listener
	links    map[*link]bool
	rule     Rule
	there    time.Duration
	back     time.Duration
	jitter   time.Duration
	open     chan struct{} // closed unless frozen
	running  sync.WaitGroup
}

// NewProxy starts a proxy for the server at target. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{
		Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t))),
		t:    t, target: target,
		links: make(map[*link]bool), open: make(chan struct{}),
	}
	close(p.open)
	p.Up()
	t.Cleanup(func() {
		p.Down()
		p.running.Wait()
	})
	return p
}

// Delay delays requests by there and replies by back. 0 and 0 end the delay. Bytes in
// flight keep their delay. The order and the throughput stay the same: a delay acts like
// a long line, not a narrow one.
func (p *Proxy) Delay(there, back time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.there, p.back = there, back
}

// Jitter delays requests and replies by up to that much more, at random.
func (p *Proxy) Jitter(most time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jitter = most
}

// Rule sets the rule for later requests. nil lets all pass.
func (p *Proxy) Rule(rule Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
}

// Freeze holds all bytes in both directions until Thaw. Connections stay open, and new
// ones are accepted.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		p.open = make(chan struct{})
	default: // already frozen
	}
}

// Thaw lets bytes pass again, the oldest first.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// Down closes all connections, and rejects new ones until Up.
func (p *Proxy) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	for l := range p.links {
		l.close()
	}
}

// Reset resets the open connections, as a NAT or a load balancer does with idle
// connections. New connections are accepted.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if tcp, ok := l.client.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		l.close()
	}
}

// Up accepts connections again, at the same address.
func (p *Proxy) Up() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return
	}
	var err error
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if p.listener, err = net.Listen("tcp", p.Addr); err == nil {
			listener := p.listener
			p.running.Go(func() { p.serve(listener) })
			return
		}
	}
	p.t.Fatalf("redistest: proxy: %v", err)
}

func (p *Proxy) serve(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.connect(listener, client) })
	}
}

// connect connects a client with the server, until either closes the connection.
func (p *Proxy) connect(listener net.Listener, client net.Conn) {
	server, err := net.DialTimeout("tcp", p.target, startTimeout)
	if err != nil {
		_ = client.Close()
		return
	}
	l := &link{proxy: p, client: client, server: server, done: make(chan struct{}), fates: make(chan Fate, inFlight)}
	p.mu.Lock()
	if p.listener == listener {
		p.links[l] = true
	} else {
		l.close() // Down was called in between
	}
	p.mu.Unlock()
	l.run()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// fate returns the fate of a request that arrives now.
func (p *Proxy) fate(request []byte) Fate {
	p.mu.Lock()
	rule := p.rule
	p.mu.Unlock()
	if rule == nil {
		return Fate{}
	}
	return rule(arguments(request))
}

// due returns the time at which bytes that are read now must arrive.
func (p *Proxy) due(reply bool) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	delay := p.there
	if reply {
		delay = p.back
	}
	if p.jitter > 0 {
		delay += rand.N(p.jitter)
	}
	return time.Now().Add(delay)
}

// thawed returns a channel that is closed unless bytes are held.
func (p *Proxy) thawed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// inFlight bounds the requests, and the replies, of a connection in flight.
const inFlight = 1 << 12

// link is one connection through the proxy.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	fates          chan Fate // of requests without a reply so far
	once           sync.Once
	done           chan struct{} // closed at the end of the link
}

// parcel has bytes in flight.
type parcel struct {
	bytes []byte
	due   time.Time
}

func (l *link) run() {
	there, back := make(chan parcel, inFlight), make(chan parcel, inFlight)
	var both sync.WaitGroup
	both.Go(func() { l.requests(there) })
	both.Go(func() { l.replies(back) })
	both.Go(func() { l.deliver(there, l.server) })
	both.Go(func() { l.deliver(back, l.client) })
	both.Wait()
	l.close()
}

func (l *link) close() {
	l.once.Do(func() { close(l.done) })
	_ = l.client.Close()
	_ = l.server.Close()
}

func (l *link) requests(there chan<- parcel) {
	defer close(there)
	r := bufio.NewReader(l.client)
	for {
		request, err := readFrame(r)
		if err != nil {
			return
		}
		fate := l.proxy.fate(request)
		if fate.swallowed {
			continue
		}
		select {
		case l.fates <- fate:
		case <-l.done:
			return
		}
		if !l.send(there, request, false) {
			return
		}
	}
}

func (l *link) replies(back chan<- parcel) {
	defer close(back)
	r := bufio.NewReader(l.server)
	for {
		reply, err := readFrame(r)
		if err != nil {
			return
		}
		var fate Fate
		if reply[0] != '>' { // a push, which is not a reply to a request
			select {
			case fate = <-l.fates:
			default: // the server's error before it closes the connection
			}
		}
		if fate.reply != nil {
			reply = fate.reply(reply)
		}
		if !l.send(back, reply, true) || fate.hangUp {
			return
		}
	}
}

func (l *link) send(way chan<- parcel, bytes []byte, reply bool) bool {
	select {
	case way <- parcel{bytes, l.proxy.due(reply)}:
		return true
	case <-l.done:
		return false
	}
}

// deliver writes the parcels of one direction, each at its time, and closes the
// connection at their end.
func (l *link) deliver(way <-chan parcel, to net.Conn) {
	defer func() { _ = to.Close() }()
	for p := range way {
		if wait := time.Until(p.due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-l.done:
				return
			}
		}
		select {
		case <-l.proxy.thawed():
		case <-l.done:
			return
		}
		if _, err := to.Write(p.bytes); err != nil {
			l.close()
			return
		}
	}
}
