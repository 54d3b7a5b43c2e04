package redisstream_test

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/redisstream"
)

func ExampleNew() {
	rdb := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{"localhost:6379"}})
	defer rdb.Close()
	limiter := core.New(redisstream.New(rdb, redisstream.WithTimeout(50*time.Millisecond)))

	api := core.NewPolicy("api", core.PerMinute(100))
	d, err := limiter.Allow(context.Background(), api, "203.0.113.7")
	if err != nil {
		fmt.Println("no decision:", err)
		return
	}
	fmt.Println(d.Allowed)
}

func ExampleOpen() {
	// A Redis that is down is logged, not an error: the store works once it is up.
	store, err := redisstream.Open("redis://localhost:6379/0")
	if err != nil {
		fmt.Println(err) // the URL can't be read
		return
	}
	limiter := core.New(store)
	defer limiter.Close() // closes the store and its client
}

func ExampleOpen_malformed() {
	_, err := redisstream.Open("localhost:6379")
	fmt.Println(err)
	// Output: redisstream: Open: no scheme: write a URL such as redis://localhost:6379/0
}
