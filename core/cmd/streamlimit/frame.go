package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// style is the style of text, as the parameters of the terminal's SGR.
type style string

const (
	plain  style = ""
	bold   style = "1"
	faint  style = "2"
	green  style = "32"
	red    style = "31"
	yellow style = "33"
	marked style = "7"
)

// frame is a screen of text. Each piece starts at a column of its own. A rune that a
// terminal shows wider than others then moves nothing after it.
type frame struct {
	width, height int
	colour        bool
	rows          []strings.Builder
}

func newFrame(width, height int, colour bool) *frame {
	return &frame{width: width, height: height, colour: colour, rows: make([]strings.Builder, height)}
}

// put writes text at a position, cut to a width.
func (f *frame) put(row, column, width int, s style, text string) {
	width = min(width, f.width-column)
	if row < 0 || row >= f.height || width <= 0 || text == "" {
		return
	}
	b := &f.rows[row]
	fmt.Fprintf(b, "\x1b[%dG", column+1)
	if text = cut(clean(text), width); s != plain && (f.colour || s != green && s != red && s != yellow) {
		fmt.Fprintf(b, "\x1b[%sm%s\x1b[0m", s, text)
		return
	}
	b.WriteString(text)
}

// right writes text that ends at the end of its width.
func (f *frame) right(row, column, width int, s style, text string) {
	text = cut(text, width)
	f.put(row, column+width-utf8.RuneCountInString(text), width, s, text)
}

func (f *frame) lines() []string {
	lines := make([]string, len(f.rows))
	for i := range f.rows {
		lines[i] = f.rows[i].String()
	}
	return lines
}

func moveTo(row, column int) string { return fmt.Sprintf("\x1b[%d;%dH", row, column) }

// cut returns at most the first n runes of text.
func cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:max(n-1, 0)]) + "…"
}

// bars draws a row of bars. The height of each is its share of the highest.
func bars(values []int64, highest int64) string {
	const eighths = " ▁▂▃▄▅▆▇█"
	steps := []rune(eighths)
	row := make([]rune, len(values))
	for i, v := range values {
		row[i] = steps[fill(v, highest, int64(len(steps)-1))]
	}
	return string(row)
}

// bar draws a horizontal bar, with a width for the highest value.
func bar(value, highest int64, width int) string {
	return strings.Repeat("█", int(fill(value, highest, int64(width))))
}

// fill returns the share of n that value has of the highest. It is 0 only if value is 0.
func fill(value, highest, n int64) int64 {
	if value <= 0 || highest <= 0 {
		return 0
	}
	share := float64(value) / float64(highest) * float64(n)
	return min(max(int64(share+0.5), 1), n)
}
