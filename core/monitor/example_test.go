package monitor_test

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/monitor"
)

// A program that knows the address of the page prints the whole link.
func ExampleWithLink() {
	store := core.NewMemory()
	recorder := monitor.NewRecorder(store)
	defer recorder.Close()
	limiter := core.New(store, core.WithObserver(recorder))
	defer limiter.Close()

	var link string
	page := monitor.New(limiter, recorder, monitor.WithLink(func(query string) {
		link = "http://localhost:8080/ratelimit/" + query
	}))
	http.Handle("/ratelimit/", http.StripPrefix("/ratelimit", page))

	address, token, _ := strings.Cut(link, "=")
	fmt.Println(address, len(token))
	// Output: http://localhost:8080/ratelimit/?token 26
}
