package monitor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// arrival is the delay between a second and its counts on the page. After it the
	// entries of all processes have arrived.
	arrival = 300 * time.Millisecond

	stateInterval = 2 * time.Second

	// writeTime bounds the time that a client may take to read an event.
	writeTime = 10 * time.Second

	// maxStreams bounds the streams of a process that are open at a time.
	maxStreams = 100

	// shownSeconds is the number of seconds that the page keeps.
	shownSeconds = 60

	// recent is the number of past seconds in each polled response, so that a client
	// misses none.
	recent = 3
)

// shownSecond is an event of api/live.
type shownSecond struct {
	Time     int64             `json:"t"`
	Policies map[string]Counts `json:"policies"`
	Requests Counts            `json:"requests"`
	Routes   map[string]Counts `json:"routes"`
	Top      Top               `json:"top"`
}

func (h *Handler) secondAt(t int64) shownSecond {
	p := h.recorder.picture
	s := shownSecond{Time: t, Top: h.top(t)}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Policies, s.Routes = p.fine.at(t).counts(), p.routes.at(t).counts()
	s.Requests = p.requests.at(t)[onlyName].counts()
	return s
}

// top returns the top keys of all processes.
func (h *Handler) top(now int64) Top {
	allowed, _ := h.keysOf(now, allowedOf, topAllowed)
	denied, _ := h.keysOf(now, deniedOf, topDenied)
	return Top{Allowed: allowed[:min(len(allowed), topKeys)], Denied: denied[:min(len(denied), topKeys)]}
}

// live streams events until the client disconnects or the recorder is closed. If
// something in between buffers streams, the client polls with poll=1. The response then
// has the current events, one line of JSON each.
func (h *Handler) live(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("poll") == "1" {
		h.poll(w, r)
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		refuse(w, http.StatusServiceUnavailable, "too many pages are open on this process: close some")
		return
	}
	stream := http.NewResponseController(w)
	if stream.SetWriteDeadline(time.Now().Add(writeTime)) != nil {
		// There is no connection here, as in Fiber, whose Flush does nothing.
		refuse(w, http.StatusNotImplemented, "this server can't stream: poll with poll=1")
		return
	}
	_ = stream.SetReadDeadline(time.Time{}) // the server's deadline is for the request; not all writers support this
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // turns off a proxy's buffering
	send := func(name string, value any) bool {
		_ = stream.SetWriteDeadline(time.Now().Add(writeTime))
		data, err := json.Marshal(value)
		if err != nil {
			return false
		}
		_, err = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, data)
		return err == nil && stream.Flush() == nil
	}
	var essence string
	var told, end time.Time
	var sent int64 // the last second that was sent
	for open := true; open; {
		now := h.now(r.Context())
		if e := now.essence(); e != essence || time.Since(told) >= stateInterval {
			essence, told = e, time.Now()
			open = send("state", now)
		}
		end = endAfter(end, h.clock().now().Add(-arrival))
		last := end.Add(-2 * time.Second).UnixMilli()
		from := last
		if sent > 0 && sent < last {
			from = max(sent+second1, last-shownSeconds*second1) // after a late timer, send all seconds since
		}
		for t := from; open && t <= last; t += second1 {
			open = send("second", h.secondAt(t))
		}
		sent = last
		select {
		case <-time.After(end.Add(arrival).Sub(h.clock().now())):
		case <-r.Context().Done():
			return
		case <-h.recorder.stop:
			return
		}
	}
}

func (h *Handler) poll(w http.ResponseWriter, r *http.Request) {
	type event struct {
		Event string `json:"event"`
		Data  any    `json:"data"`
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := json.NewEncoder(w)
	_ = lines.Encode(event{"state", h.now(r.Context())}) // fails only if the client has disconnected
	last := h.clock().now().Add(-arrival).Truncate(time.Second)
	for ago := time.Duration(recent); ago > 0; ago-- {
		_ = lines.Encode(event{"second", h.secondAt(last.Add(-ago * time.Second).UnixMilli())})
	}
}
