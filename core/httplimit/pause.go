package httplimit

import (
	"math"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxPauses bounds the keys with a pause.
const maxPauses = 1024

// pauses are the times until which no request is sent, by key. The zero pauses has none.
type pauses struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// begin begins a pause, or makes one longer.
func (p *pauses) begin(key string, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !until.After(time.Now()) || !until.After(p.until[key]) {
		return
	}
	if p.until == nil {
		p.until = make(map[string]time.Time)
	}
	p.until[key] = until
	if len(p.until) <= maxPauses {
		return
	}
	// Delete the pauses that are over, or else the one that ends first.
	first, now := key, time.Now()
	for other, end := range p.until {
		if !end.After(now) {
			delete(p.until, other)
		} else if end.Before(p.until[first]) {
			first = other
		}
	}
	if len(p.until) > maxPauses {
		delete(p.until, first)
	}
}

// left returns how long a pause lasts, at most 0 for none.
func (p *pauses) left(key string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.until[key]
	if !ok {
		return 0
	}
	left := time.Until(until)
	if left <= 0 {
		delete(p.until, key)
	}
	return left
}

// retryAfter returns the Retry-After of a response with status 429 or 503, in the forms of
// RFC 9110, section 10.2.3. A date is compared with the response's own Date, so that the
// clocks need not agree.
func retryAfter(resp *http.Response) (after time.Duration, ok bool) {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0, false
	}
	text := strings.TrimSpace(resp.Header.Get("Retry-After"))
	if text == "" {
		return 0, false
	}
	if strings.Trim(text, "0123456789") == "" {
		return seconds(text), true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(0, at.Sub(now)), true
}

// seconds returns the duration of a number of seconds, which may have any number of digits.
func seconds(digits string) time.Duration {
	const most = math.MaxInt64 / time.Second
	var n time.Duration
	for _, c := range []byte(digits) {
		if n = 10*n + time.Duration(c-'0'); n >= most {
			return most * time.Second
		}
	}
	return n * time.Second
}
