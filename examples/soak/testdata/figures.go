// The soak adds this file to the servers that it builds. Other builds do not have it.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
)

func init() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	figures := http.NewServeMux()
	figures.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		runtime.GC()
		runtime.GC() // what pools hold goes with the second one
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		_ = json.NewEncoder(w).Encode(map[string]any{"goroutines": runtime.NumGoroutine(), "heap": memory.HeapAlloc})
	})
	figures.HandleFunc("/goroutines", func(w http.ResponseWriter, _ *http.Request) {
		_ = pprof.Lookup("goroutine").WriteTo(w, 1)
	})
	go func() { _ = http.Serve(listener, figures) }()
	fmt.Fprintf(os.Stderr, "figures on http://%s/\n", listener.Addr())
}
