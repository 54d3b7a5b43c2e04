package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// measureMemory finds what the server keeps for a client with so many requests
// in its window.
func measureMemory(b *bench) error {
	total := table{Name: "memory", Over: "requests in the window", How: "Measured once.", Title: "Redis memory of a client by requests in its window, bytes; streamlimit's keys name the policy, here api: 16 bytes more for names of five letters and more"}
	usage := table{Name: "memory-usage", Over: "requests in the window", How: "Measured once.", Title: "The same by MEMORY USAGE, bytes"}
	for _, p := range b.peers {
		b.step("Memory: %s", p.name)
		for _, m := range []struct{ requests, clients int }{
			{1, b.pick(1000, 5000)}, {10, b.pick(100, 500)}, {100, b.pick(20, 100)}, {1000, b.pick(4, 20)}, {10_000, b.pick(1, 4)},
		} {
			s := newStage("--latency-tracking", "no") // its first use of a command would count
			grown, keys, err := grow(s, p, m.clients, m.requests)
			s.close()
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			total.set(p.name, fmt.Sprint(m.requests), grown)
			usage.set(p.name, fmt.Sprint(m.requests), keys)
		}
	}
	b.add(total, usage)
	return nil
}

// grow is what the server's memory grows by for each of so many clients, and
// what their keys take. There are no connections but one when it is read, whose
// buffers would count as well.
func grow(s *stage, p peer, clients, requests int) (grown, keys float64, err error) {
	fill := func(clients, requests int) error {
		l := newLink(s.addr)
		defer l.close()
		allow, err := p.make(l, plenty)
		if err != nil {
			return err
		}
		return drive(16, clients, 5*time.Minute, func(i int) error {
			key := fmt.Sprintf("%032x", i)
			for range requests {
				if _, err := allow(context.Background(), key); err != nil {
					return err
				}
			}
			return nil
		}).err
	}
	if err := fill(1, 3); err != nil { // loads the script
		return 0, 0, err
	}
	s.flush()
	before := s.memory()
	if err := fill(clients, requests); err != nil {
		return 0, 0, err
	}
	grown = (s.memory() - before) / float64(clients)
	keys, err = s.usage()
	return grown, keys / float64(clients), err
}

// memory is what the server uses, without the client that asks, when there is no
// other.
func (s *stage) memory() float64 {
	for {
		list, err := s.info.ClientList(context.Background()).Result()
		if err != nil {
			s.Fatalf("CLIENT LIST: %w", err)
		}
		if strings.Count(list, "\n") == 1 {
			_, own, _ := strings.Cut(list, "tot-mem=")
			own, _, _ = strings.Cut(own, " ")
			return number(s.infoOf("memory")["used_memory"]) - number(own)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// usage is the MEMORY USAGE of all keys.
func (s *stage) usage() (float64, error) {
	ctx, sum := context.Background(), int64(0)
	keys := s.info.Scan(ctx, 0, "", 1000).Iterator()
	for keys.Next(ctx) {
		n, err := s.info.MemoryUsage(ctx, keys.Val(), 0).Result()
		if err != nil && !errors.Is(err, redis.Nil) { // a key's time is up by now
			return 0, err
		}
		sum += n
	}
	return float64(sum), keys.Err()
}
