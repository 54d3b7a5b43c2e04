package redistest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// readFrame reads one value of the Redis protocol, a request or a reply, and returns its
// bytes unchanged.
func readFrame(r *bufio.Reader) ([]byte, error) {
	var frame []byte
	for values := 1; values > 0; values-- {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		frame = append(frame, line...)
		var length int
		switch line[0] {
		case '$', '=', '!', '*', '~', '>', '%', '|':
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[1:]))); err != nil {
				return nil, fmt.Errorf("redistest: frame %q: %w", line, err)
			}
		default:
			continue // the line has the whole value
		}
		switch line[0] {
		case '*', '~', '>':
			values += max(length, 0)
		case '%':
			values += 2 * length
		case '|': // attributes precede their value
			values += 2*length + 1
		default:
			if length < 0 {
				continue
			}
			start := len(frame)
			frame = append(frame, make([]byte, length+len("\r\n"))...)
			if _, err := io.ReadFull(r, frame[start:]); err != nil {
				return nil, err
			}
		}
	}
	return frame, nil
}

// arguments returns the words of a request. The first one, the command, is in lower case.
func arguments(request []byte) []string {
	r := bufio.NewReader(bytes.NewReader(request))
	if _, err := r.ReadBytes('\n'); err != nil || request[0] != '*' {
		return []string{strings.ToLower(strings.TrimSpace(string(request)))} // inline
	}
	var words []string
	for {
		frame, err := readFrame(r)
		if err != nil {
			return words
		}
		_, word, _ := bytes.Cut(frame, []byte("\r\n"))
		words = append(words, string(bytes.TrimSuffix(word, []byte("\r\n"))))
		words[0] = strings.ToLower(words[0])
	}
}
