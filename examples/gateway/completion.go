package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/streamlimit/streamlimit/core"
	"github.com/streamlimit/streamlimit/core/httplimit"
)

// complete passes a request to the model, and the answer back. What it has used is in the
// call, however it ends.
func (g *gateway) complete(w http.ResponseWriter, r *http.Request) {
	c := callOf(r)
	// If the client hangs up, the context ends, and so does the model's work.
	ctx, cancel := context.WithTimeout(r.Context(), maxStream)
	defer cancel()
	asked, err := http.NewRequestWithContext(ctx, http.MethodPost, g.model, bytes.NewReader(c.body))
	if err != nil {
		refuse(w, err)
		return
	}
	asked.Header.Set("Content-Type", "application/json")
	resp, err := g.client.Do(asked)
	if err != nil {
		c.begun = r.Context().Err() != nil // who hangs up before the first token pays for the prompt
		refuse(w, unavailable(err))
		return
	}
	defer resp.Body.Close()
	c.begun = resp.StatusCode == http.StatusOK
	for _, name := range []string{"Content-Type", "Retry-After"} {
		if value := resp.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	status := resp.StatusCode
	if status == http.StatusTooManyRequests {
		status = http.StatusServiceUnavailable // the provider's limit is not the client's
	}
	w.WriteHeader(status)
	switch {
	case resp.StatusCode != http.StatusOK:
		_, _ = io.Copy(w, io.LimitReader(resp.Body, maxBody))
	case c.stream:
		c.passStream(w, resp.Body)
	default:
		c.passWhole(w, resp.Body)
	}
}

// unavailable is the error of a request that did not reach the model. It is
// not a 429 if the gateways have used up the provider's limit: the client is not at fault.
func unavailable(err error) error {
	var limited *core.LimitedError
	var paused *httplimit.PauseError
	if errors.As(err, &limited) || errors.As(err, &paused) {
		return &core.Problem{Status: http.StatusServiceUnavailable, Detail: "the model is busy; retry in 1s", RetryAfter: 1}
	}
	return core.Refuse(http.StatusBadGateway, "the model does not answer")
}

// answer is what the gateway reads of an answer, or of an event of a stream.
type answer struct {
	Choices []struct {
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
	} `json:"choices"`
	Usage *struct {
		Total int64 `json:"total_tokens"`
	} `json:"usage"`
}

// passStream passes on server-sent events, line by line, and counts them: a model sends about
// one token in an event.
func (c *call) passStream(w http.ResponseWriter, from io.Reader) {
	flusher := http.NewResponseController(w)
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxBody)
	for lines.Scan() {
		line := lines.Bytes()
		c.count(line)
		if _, err := fmt.Fprintf(w, "%s\n", line); err != nil {
			return // the client has gone
		}
		if len(line) == 0 && flusher.Flush() != nil { // the end of an event
			return
		}
	}
}

// count counts the tokens of an event.
func (c *call) count(line []byte) {
	data, ok := bytes.CutPrefix(line, []byte("data: "))
	var event answer
	if !ok || json.Unmarshal(data, &event) != nil { // such as [DONE]
		return
	}
	if len(event.Choices) > 0 && event.Choices[0].Delta.Content != "" {
		c.sent++
	}
	if event.Usage != nil {
		c.usage = event.Usage.Total
	}
}

// passWhole passes on an answer that is not a stream.
func (c *call) passWhole(w io.Writer, from io.Reader) {
	body, err := io.ReadAll(io.LimitReader(from, maxBody))
	var whole answer
	if json.Unmarshal(body, &whole) == nil && whole.Usage != nil {
		c.usage = whole.Usage.Total
	} else {
		c.sent = int64(len(body)) / bytesToken
	}
	if err == nil {
		_, _ = w.Write(body)
	}
}
