package redisstream

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core/monitor"
	"github.com/streamlimit/streamlimit/core/redistest"
)

var _ monitor.Feed = (*Store)(nil)

// What is added comes back in order, to anyone, in as many parts as one likes.
func TestFeed(t *testing.T) {
	server := redistest.Start(t)
	s := New(server.Client(), patient)
	another := New(server.Client(), patient, WithPrefix("another:"))
	for i := range 10 {
		at, err := s.AddEntry(t.Context(), fmt.Append(nil, "entry ", i))
		if age := time.Since(at); err != nil || age < -time.Second || age > 10*time.Second {
			t.Fatalf("added %v ago, %v", age, err)
		}
	}
	if got, _ := entriesAfter(t, another, "0", 100); len(got) != 0 {
		t.Errorf("entries with another prefix: %v", got)
	}
	after := fmt.Sprint(time.Now().Add(-time.Hour).UnixMilli()) // a time, not an entry's
	var all []string
	for range 4 {
		var got []string
		got, after = entriesAfter(t, s, after, 3)
		all = append(all, got...)
	}
	if want := "[entry 0 entry 1 entry 2 entry 3 entry 4 entry 5 entry 6 entry 7 entry 8 entry 9]"; fmt.Sprint(all) != want {
		t.Errorf("%v, want %s", all, want)
	}
	if got, _ := entriesAfter(t, s, after, 3); len(got) != 0 {
		t.Errorf("more entries: %v", got)
	}
	now, err := s.Now(t.Context())
	if age := time.Since(now); err != nil || age < -time.Second || age > 10*time.Second {
		t.Errorf("the server's time %v, %v ago, %v", now, age, err)
	}
}

func entriesAfter(t *testing.T, s *Store, after string, most int) (all []string, last string) {
	t.Helper()
	last = after
	err := s.EntriesAfter(t.Context(), after, most, func(id string, data []byte) {
		all, last = append(all, string(data)), id
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, last
}

// The feed keeps about an hour of 16 processes, and goes when nobody tells
// anything for two.
func TestFeedIsBounded(t *testing.T) {
	server := redistest.Start(t)
	s := New(server.Client(), patient)
	pipe := server.Client().Pipeline()
	for i := range feedLength {
		pipe.Do(t.Context(), "xadd", s.prefix+feedSuffix, "*", feedField, i)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if _, err := s.AddEntry(t.Context(), []byte("new")); err != nil {
			t.Fatal(err)
		}
	}
	if n := server.Client().XLen(t.Context(), s.prefix+feedSuffix).Val(); n > feedLength+100 {
		t.Errorf("%d entries, want about %d", n, feedLength)
	}
	if ttl := server.Client().PTTL(t.Context(), s.prefix+feedSuffix).Val(); ttl <= feedLife-time.Minute || ttl > feedLife {
		t.Errorf("time to live %v, want %v", ttl, feedLife)
	}
}

// The commands that the package documentation lists are enough for the feed too.
func TestFeedPrivilege(t *testing.T) {
	server := redistest.Start(t)
	rules := []any{"acl", "setuser", "limiter", "on", ">pw", "resetkeys", "~streamlimit:*", "resetchannels", "-@all"}
	for _, command := range documentedCommands(t) {
		rules = append(rules, "+"+command)
	}
	if err := server.Client().Do(t.Context(), rules...).Err(); err != nil {
		t.Fatal(err)
	}
	o := server.Options()
	o.Username, o.Password = "limiter", "pw"
	rdb := redis.NewClient(o)
	defer rdb.Close()
	s := New(rdb, patient)
	if _, err := s.AddEntry(t.Context(), []byte("x")); err != nil {
		t.Error(err)
	}
	if got, _ := entriesAfter(t, s, "0", 9); len(got) != 1 {
		t.Errorf("entries %v", got)
	}
	if _, err := s.Now(t.Context()); err != nil {
		t.Error(err)
	}
}

// A Redis that does not answer is an error, within the store's timeout.
func TestFeedWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	s := New(server.Client(), WithTimeout(50*time.Millisecond))
	if _, err := s.AddEntry(t.Context(), []byte("x")); err != nil {
		t.Logf("at first: %v", err) // a slow machine
	}
	server.Freeze()
	begun := time.Now()
	if _, err := s.AddEntry(t.Context(), []byte("x")); err == nil {
		t.Error("added to a server that is frozen")
	}
	if _, err := s.Now(t.Context()); err == nil {
		t.Error("the time of a server that is frozen")
	}
	if err := s.EntriesAfter(context.Background(), "0", 1, func(string, []byte) {}); err == nil {
		t.Error("read from a server that is frozen")
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	server.Thaw()
}

// In a Cluster the time is that of the server that has the feed, which answers
// though another was stopped.
func TestFeedInCluster(t *testing.T) {
	cluster := redistest.Cluster(t, 3, redistest.WithArgs("--cluster-require-full-coverage", "no"))
	s := New(cluster.Client(), patient)
	if _, err := s.AddEntry(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	asked := func(server *redistest.Server) int {
		info := server.Client().InfoMap(t.Context(), "commandstats").Val()["Commandstats"]["cmdstat_eval"]
		var calls int
		_, _ = fmt.Sscanf(info, "calls=%d", &calls)
		return calls
	}
	owner := cluster.Owner(cluster.Slot(s.prefix + feedSuffix))
	s.check.running.Wait() // which asks all servers
	before := make(map[*redistest.Server]int)
	for _, server := range cluster.Nodes {
		before[server] = asked(server)
	}
	for range 20 {
		if now, err := s.Now(t.Context()); err != nil || time.Since(now).Abs() > 10*time.Second {
			t.Fatalf("%v, %v", now, err)
		}
	}
	for _, server := range cluster.Nodes {
		want := 0
		if server == owner {
			want = 20
		}
		if got := asked(server) - before[server]; got != want {
			t.Errorf("a server was asked %d times, want %d", got, want)
		}
	}
	for _, server := range cluster.Nodes {
		if server != owner {
			server.Kill()
			break
		}
	}
	for range 20 {
		if _, err := s.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// The same in a Ring.
func TestFeedInRing(t *testing.T) {
	servers := []*redistest.Server{redistest.Start(t), redistest.Start(t), redistest.Start(t)}
	addrs := make(map[string]string)
	for i, server := range servers {
		addrs[fmt.Sprint(i)] = server.Addr
	}
	ring := redis.NewRing(&redis.RingOptions{Addrs: addrs})
	t.Cleanup(func() { ring.Close() })
	s := New(ring, patient)
	if _, err := s.AddEntry(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, server := range servers {
		if server.Client().Exists(t.Context(), s.prefix+feedSuffix).Val() == 0 {
			server.Freeze()
			t.Cleanup(server.Thaw)
		}
	}
	if _, err := s.Now(t.Context()); err != nil {
		t.Error(err)
	}
}
