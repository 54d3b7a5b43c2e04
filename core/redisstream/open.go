package redisstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Open makes a store with a client of its own, from a URL:
//
//	redis://user:password@host:6379/0             one server
//	rediss://host:6379                            one server, TLS
//	unix:///run/redis/redis.sock?db=0             one server, Unix socket
//	redis+cluster://host:7000,host2:7001          Cluster (rediss+cluster for TLS)
//	redis+sentinel://host:26379,host2:26379/name  Sentinel, with the primary's name
//
// Query parameters are those of go-redis, such as ?pool_size=20. For Sentinel the user
// and password are those of the servers; the sentinels' own are sentinel_username and
// sentinel_password. The default port is 6379, or 26379 for a sentinel.
//
// A new connection takes one round trip (HELLO), and one more for a database or a
// client_name. The client does not send the name of its library and does not subscribe to
// maintenance notifications. Give [New] your own client for those.
//
// Open returns an error if the URL cannot be right. The error does not quote the URL.
// If Redis does not respond or refuses the connection, Open logs that. The store then
// works within about a second after Redis is back.
func Open(rawURL string, options ...Option) (*Store, error) {
	rdb, err := newClient(rawURL)
	if err != nil {
		return nil, fmt.Errorf("redisstream: Open: %w", err)
	}
	s := New(rdb, options...)
	s.owned = true
	if err := s.Ping(context.Background()); err != nil {
		s.logger.Warn("streamlimit: Redis does not answer; the limiter tries again", "error", err)
	}
	return s, nil
}

// newClient makes the client for a URL. Its errors never quote the URL, which may
// hold a password.
func newClient(rawURL string) (redis.UniversalClient, error) {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		return nil, errors.New("no scheme: write a URL such as redis://localhost:6379/0")
	}
	transport, kind, _ := strings.Cut(scheme, "+")
	switch scheme {
	case "redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel":
	case "unix":
		return newUnixClient(rawURL)
	default:
		return nil, errors.New("unknown scheme: use redis, rediss, unix, redis+cluster, rediss+cluster, redis+sentinel or rediss+sentinel")
	}
	port := "6379"
	if kind == "sentinel" {
		port = "26379"
	}
	u, err := splitSeeds(transport, rest, port)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "cluster":
		return newClusterClient(u)
	case "sentinel":
		o, err := sentinelOptions(u)
		if err != nil {
			return nil, err
		}
		rdb := redis.NewFailoverClient(o)
		rdb.AddHook(greeter{})
		return rdb, nil
	}
	if u.Query().Has("addr") {
		return nil, errors.New("several hosts: write redis+cluster://host:7000,host2:7001 for a Cluster, " +
			"redis+sentinel://host:26379,host2:26379/name for sentinels, or one host")
	}
	return newServerClient(u)
}

func newServerClient(u *url.URL) (redis.UniversalClient, error) {
	if err := databaseError(u); err != nil {
		return nil, err
	}
	o, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, errMalformed
	}
	o.ContextTimeoutEnabled = true
	o.DialerRetries = dialOnce
	o.DisableIdentity, o.MaintNotificationsConfig = true, noNotifications()
	rdb := redis.NewClient(o)
	rdb.AddHook(greeter{})
	return rdb, nil
}

func newUnixClient(rawURL string) (redis.UniversalClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errMalformed
	}
	if u.Host != "" || u.Path == "" {
		return nil, errors.New("no absolute path of a socket: write unix:///run/redis/redis.sock")
	}
	if err := queryError(u); err != nil {
		return nil, err
	}
	return newServerClient(u)
}

func newClusterClient(u *url.URL) (redis.UniversalClient, error) {
	if strings.Trim(u.Path, "/") != "" || u.Query().Has("db") {
		return nil, errors.New("a Cluster has one database: leave out the path and db")
	}
	o, err := redis.ParseClusterURL(u.String())
	if err != nil {
		return nil, errMalformed
	}
	if o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
		return nil, errors.New("read_only, route_by_latency and route_randomly would decide on replicas: leave them out")
	}
	o.ContextTimeoutEnabled = true
	o.DialerRetries = cmp.Or(max(o.DialerRetries, 0), dialOnce)
	o.DisableIdentity, o.MaintNotificationsConfig = true, noNotifications()
	rdb := redis.NewClusterClient(o)
	rdb.OnNewNode(func(node *redis.Client) { node.AddHook(greeter{}) })
	return rdb, nil
}

func sentinelOptions(u *url.URL) (*redis.FailoverOptions, error) {
	q := u.Query()
	name := strings.Trim(u.Path, "/")
	if name == "" {
		name = q.Get("master_name")
	}
	if name == "" || strings.Contains(name, "/") {
		return nil, errors.New("no name of a primary: write redis+sentinel://host:26379/name, and ?db= for a database")
	}
	u.Path = ""
	if err := databaseError(u); err != nil {
		return nil, err
	}
	q.Set("master_name", name)
	// go-redis takes the URL's user and password for those of the sentinels.
	sentinelUser, sentinelPassword := q.Get("sentinel_username"), q.Get("sentinel_password")
	q.Del("sentinel_username")
	q.Del("sentinel_password")
	user := u.User
	u.User = nil
	u.RawQuery = q.Encode()
	o, err := redis.ParseFailoverURL(u.String())
	if err != nil {
		return nil, errMalformed
	}
	if o.ReplicaOnly || o.RouteByLatency || o.RouteRandomly {
		return nil, errors.New("replica_only, route_by_latency and route_randomly would decide on replicas: leave them out")
	}
	o.SentinelUsername, o.SentinelPassword = sentinelUser, sentinelPassword
	if user != nil {
		o.Username = user.Username()
		o.Password, _ = user.Password()
	}
	o.ContextTimeoutEnabled = true
	o.DialerRetries = cmp.Or(max(o.DialerRetries, 0), dialOnce)
	o.DisableIdentity = true // and go-redis asks for no notifications there
	return o, nil
}

// dialOnce is the number of attempts to connect for one command, unless the URL
// says otherwise. More of them, 100 ms apart, outlast a decision's time, and its
// error would not say what is wrong.
const dialOnce = 1

// noNotifications saves a round trip of each new connection. Only Redis Enterprise has
// maintenance notifications.
func noNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// splitSeeds reads user:password@host1:port,host2:port/path?query. All hosts
// but the first become addr parameters, which is how go-redis wants them. Hosts
// without a port get the one given.
func splitSeeds(scheme, rest, port string) (*url.URL, error) {
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	userinfo, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		userinfo, hosts = authority[:i+1], authority[i+1:]
	}
	var first *url.URL
	var others []string
	for _, host := range strings.Split(hosts, ",") {
		u, err := url.Parse(scheme + "://" + userinfo + host + tail)
		if err != nil {
			return nil, errMalformed
		}
		if u.Hostname() == "" {
			return nil, errors.New("a host is missing: write a URL such as redis://localhost:6379/0")
		}
		if err := portError(u.Port()); err != nil {
			return nil, err
		}
		addr := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
		if first != nil {
			others = append(others, addr)
			continue
		}
		if err := queryError(u); err != nil {
			return nil, err
		}
		u.Host = addr
		first = u
	}
	if others != nil {
		q := first.Query()
		q["addr"] = others
		first.RawQuery = q.Encode()
	}
	return first, nil
}

// portError returns an error for a port that no server can have.
func portError(port string) error {
	if port == "" {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("malformed port: use one from 1 to 65535, usually 6379")
	}
	return nil
}

// databaseError returns an error for a database that go-redis would not use as written.
func databaseError(u *url.URL) error {
	q := u.Query()
	path := strings.Trim(u.Path, "/")
	if u.Scheme == "unix" {
		path = ""
	}
	if path != "" && q.Has("db") {
		return errors.New("two databases: leave out the path or db")
	}
	for _, db := range append(q["db"], path) {
		if n, err := strconv.Atoi(db); db != "" && (err != nil || n < 0) {
			return errDatabase
		}
	}
	return nil
}

var errDatabase = errors.New("the database is not a number: write a URL such as redis://localhost:6379/0, " +
	"with : / ? # @ and % in the password percent-encoded")

// queryError returns an error for parameters that go-redis ignores, or that no server
// accepts.
func queryError(u *url.URL) error {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Fragment != "" {
		return errMalformed
	}
	if q.Has("addr") {
		return errors.New("addr: write all hosts before the path, as in host:7000,host2:7001")
	}
	if v := q.Get("protocol"); v != "" && v != "2" && v != "3" {
		return errors.New("protocol: use 2 or 3")
	}
	if strings.ContainsFunc(q.Get("client_name"), func(r rune) bool { return r < '!' || r > '~' }) {
		return errors.New("client_name: use printable ASCII without spaces")
	}
	for _, name := range []string{"pool_size", "min_idle_conns", "max_idle_conns", "max_active_conns", "max_concurrent_dials"} {
		if n, err := strconv.Atoi(q.Get(name)); q.Get(name) != "" && (err != nil || n < 0 || n > mostConns) {
			return fmt.Errorf("%s: use a number of connections from 0, for the default, to %d", name, mostConns)
		}
	}
	return nil
}

// mostConns is more than a server accepts by default.
const mostConns = 100_000

// errMalformed quotes nothing of the URL, since any part of a malformed one can
// be a piece of its password.
var errMalformed = errors.New("malformed URL or unknown parameter: write one such as redis://user:password@host:6379/0, " +
	"with : / ? # @ and % in the password percent-encoded")
