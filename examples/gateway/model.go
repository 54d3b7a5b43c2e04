package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// fakeModel stands for the provider of a language model. It says what it is, and counts to a
// number if the prompt has one. A token is a word here.
type fakeModel struct {
	pace time.Duration // for each token
}

// serveModel serves a fake model on a free port until ctx ends, and returns its URL.
func serveModel(ctx context.Context) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: fakeModel{pace: 20 * time.Millisecond}, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	context.AfterFunc(ctx, func() {
		// The gateway's streams may end first.
		time.AfterFunc(10*time.Second, func() { _ = server.Close() })
	})
	return "http://" + listener.Addr().String() + "/v1/chat/completions", nil
}

var number = regexp.MustCompile(`\d+`)

// answerTo returns the words of a completion.
func answerTo(prompt string, most int) []string {
	words := strings.Fields("I am only a fake model, but I can count to a number for you.")
	if n, err := strconv.Atoi(number.FindString(prompt)); err == nil {
		words = nil
		for i := 1; i <= n && i <= most; i++ {
			words = append(words, strconv.Itoa(i))
		}
	}
	return words[:min(most, len(words))]
}

func (m fakeModel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Messages  []struct{ Content string } `json:"messages"`
		MaxTokens int                        `json:"max_tokens"`
		Stream    bool                       `json:"stream"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked.Messages) == 0 {
		http.Error(w, `{"error":{"message":"the fake model needs messages"}}`, http.StatusBadRequest)
		return
	}
	prompt := 0
	for _, message := range asked.Messages {
		prompt += len(strings.Fields(message.Content))
	}
	words := answerTo(asked.Messages[len(asked.Messages)-1].Content, asked.MaxTokens)
	usage := map[string]int{"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": prompt + len(words)}
	if !asked.Stream {
		w.Header().Set("Content-Type", "application/json")
		message := map[string]string{"role": "assistant", "content": strings.Join(words, " ")}
		_ = json.NewEncoder(w).Encode(map[string]any{"choices": []any{map[string]any{"message": message}}, "usage": usage})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(event any) {
		text, _ := json.Marshal(event) // strings and numbers
		fmt.Fprintf(w, "data: %s\n\n", text)
		_ = http.NewResponseController(w).Flush()
	}
	for _, word := range words {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(m.pace):
		}
		send(map[string]any{"choices": []any{map[string]any{"delta": map[string]string{"content": word + " "}}}})
	}
	send(map[string]any{"choices": []any{}, "usage": usage})
	fmt.Fprint(w, "data: [DONE]\n\n")
}
