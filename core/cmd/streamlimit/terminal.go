package main

import (
	"bytes"
	"os"

	"golang.org/x/term"
)

// terminal is a terminal that the tool uses alone, until close restores it.
type terminal struct {
	in, out *os.File
	before  *term.State
	keys    <-chan string
	drawn   []string // the rows on the screen
	width   int
}

// The codes for an alternate screen, without a cursor and without lines that wrap.
const (
	enter   = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
	leave   = "\x1b[0m\x1b[2J\x1b[?7h\x1b[?25h\x1b[?1049l"
	erase   = "\x1b[0m\x1b[2K"
	eraseIt = "\x1b[0m\x1b[2J"
)

func openTerminal(in, out *os.File) (*terminal, error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	t := &terminal{in: in, out: out, before: before, keys: readKeys(in)}
	if _, err := out.WriteString(enter); err != nil {
		_ = t.close()
		return nil, err
	}
	return t, nil
}

func (t *terminal) close() error {
	_, err := t.out.WriteString(leave)
	if e := term.Restore(int(t.in.Fd()), t.before); e != nil {
		err = e
	}
	return err
}

// draw writes the rows that have changed, in one write.
func (t *terminal) draw(s *screen) error {
	width, height, err := term.GetSize(int(t.out.Fd()))
	if err != nil {
		return err
	}
	rows := s.rows(width, height)
	var b bytes.Buffer
	if width != t.width || height != len(t.drawn) {
		b.WriteString(eraseIt)
		t.width, t.drawn = width, make([]string, height)
	}
	for i, row := range rows {
		if row != t.drawn[i] {
			b.WriteString(moveTo(i+1, 1) + erase + row)
			t.drawn[i] = row
		}
	}
	if b.Len() == 0 {
		return nil
	}
	_, err = t.out.Write(b.Bytes())
	return err
}

// readKeys sends the pressed keys, as a terminal sends them. The goroutine ends with the
// terminal or the process, since a read can't be canceled.
func readKeys(in *os.File) <-chan string {
	keys := make(chan string)
	go func() {
		defer close(keys)
		for buf := make([]byte, 64); ; {
			n, err := in.Read(buf)
			if err != nil {
				return
			}
			for _, key := range splitKeys(buf[:n]) {
				keys <- key
			}
		}
	}()
	return keys
}

// splitKeys splits keys that were read at once: bytes, and sequences such as those of
// arrows, ESC [ A.
func splitKeys(b []byte) (keys []string) {
	for len(b) > 0 {
		n := 1
		if len(b) > 2 && b[0] == '\x1b' && (b[1] == '[' || b[1] == 'O') {
			n = 3
			for n < len(b) && (b[n-1] < '@' || b[n-1] > '~') {
				n++
			}
		}
		keys = append(keys, string(b[:n]))
		b = b[n:]
	}
	return keys
}
