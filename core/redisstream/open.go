package redisstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Open makes a store with a client of its own, from a URL:
//
//	redis://user:password@host:6379/0             one server
//	rediss://host:6379                            one server, TLS
//	unix:///run/redis/redis.sock?db=0             one server, Unix socket
//	redis+cluster://host:7000,host2:7001          Cluster (rediss+cluster for TLS)
//	redis+sentinel://host:26379,host2:26379/name  Sentinel, with the primary's name
//
// Query parameters are those of go-redis, such as ?pool_size=20. For Sentinel
// the user and password are those of the servers; the sentinels' own are
// sentinel_username and sentinel_password.
//
// The error is for a URL that can't be read. A Redis that does not answer is
// none: it is logged, and the store works within about a second of its return.
func Open(rawURL string, options ...Option) (*Store, error) {
	rdb, err := newClient(rawURL)
	if err != nil {
		return nil, fmt.Errorf("redisstream: Open: %w", err)
	}
	s := New(rdb, options...)
	s.owned = true
	if err := s.Ping(context.Background()); err != nil {
		s.logger.Warn("streamlimit: Redis does not answer; the limiter goes on trying", "error", err)
	}
	return s, nil
}

// newClient makes the client for a URL. Errors don't quote it, since it may
// hold a password.
func newClient(rawURL string) (redis.UniversalClient, error) {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		return nil, errors.New("no scheme: write a URL such as redis://localhost:6379/0")
	}
	switch scheme {
	case "redis", "rediss", "unix":
		o, err := redis.ParseURL(rawURL)
		if err != nil {
			return nil, errMalformed
		}
		if err := portError(o.Addr); err != nil {
			return nil, err
		}
		o.ContextTimeoutEnabled = true
		o.DialerRetries = dialOnce(o.DialerRetries)
		return redis.NewClient(o), nil
	case "redis+cluster", "rediss+cluster":
		seeds, err := splitSeeds(strings.TrimSuffix(scheme, "+cluster"), rest)
		if err != nil {
			return nil, err
		}
		o, err := redis.ParseClusterURL(seeds.String())
		if err != nil {
			return nil, errMalformed
		}
		if o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return nil, errors.New("read_only, route_by_latency and route_randomly would decide on replicas: leave them out")
		}
		if err := portError(o.Addrs...); err != nil {
			return nil, err
		}
		o.ContextTimeoutEnabled = true
		o.DialerRetries = dialOnce(o.DialerRetries)
		return redis.NewClusterClient(o), nil
	case "redis+sentinel", "rediss+sentinel":
		o, err := sentinelOptions(strings.TrimSuffix(scheme, "+sentinel"), rest)
		if err != nil {
			return nil, err
		}
		o.ContextTimeoutEnabled = true
		o.DialerRetries = dialOnce(o.DialerRetries)
		return redis.NewFailoverClient(o), nil
	}
	return nil, errors.New("unknown scheme: use redis, rediss, unix, redis+cluster, rediss+cluster, redis+sentinel or rediss+sentinel")
}

// dialOnce is the number of attempts to connect for one command: one unless the
// URL says otherwise. More of them, 100 ms apart, outlast a decision's time, and
// its error would not say what is wrong.
func dialOnce(set int) int {
	if set > 0 {
		return set
	}
	return 1
}

func sentinelOptions(scheme, rest string) (*redis.FailoverOptions, error) {
	u, err := splitSeeds(scheme, rest)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	if name := strings.Trim(u.Path, "/"); name != "" {
		q.Set("master_name", name)
		u.Path = ""
	}
	if q.Get("master_name") == "" {
		return nil, errors.New("no name of a primary: write redis+sentinel://host:26379/name")
	}
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
	if err := portError(o.SentinelAddrs...); err != nil {
		return nil, err
	}
	o.SentinelUsername, o.SentinelPassword = sentinelUser, sentinelPassword
	if user != nil {
		o.Username = user.Username()
		o.Password, _ = user.Password()
	}
	return o, nil
}

// portError is about a port that no server can have.
func portError(addrs ...string) error {
	for _, addr := range addrs {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			continue // a path
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("port %q: use one from 1 to 65535, usually 6379", port)
		}
	}
	return nil
}

// splitSeeds reads user:password@host1:port,host2:port/path?query. All hosts
// but the first become addr parameters, which is how go-redis wants them.
func splitSeeds(scheme, rest string) (*url.URL, error) {
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	userinfo, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		userinfo, hosts = authority[:i+1], authority[i+1:]
	}
	seeds := strings.Split(hosts, ",")
	u, err := url.Parse(scheme + "://" + userinfo + seeds[0] + tail)
	if err != nil {
		return nil, errMalformed
	}
	q := u.Query()
	for _, seed := range seeds[1:] {
		q.Add("addr", seed)
	}
	u.RawQuery = q.Encode()
	return u, nil
}

// errMalformed quotes nothing of the URL, since any part of a malformed one can
// be a piece of its password.
var errMalformed = errors.New("malformed URL or unknown parameter: write one such as redis://user:password@host:6379/0, " +
	"with : / ? # @ and % in the password percent-encoded")
