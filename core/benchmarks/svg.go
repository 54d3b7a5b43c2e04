package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// picture is an SVG that is readable on light and on dark paper.
type picture struct {
	strings.Builder
	width, height int
}

const style = `<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.small { font-size: 11px; fill: #59636e }
.axis { stroke: #8b949e; stroke-opacity: .4 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .small { fill: #9198a1 } }
</style>
`

// colours are of medium brightness. The first is streamlimit's.
var colours = []string{"#e8590c", "#4c8eda", "#2b9a66", "#9a6bd1", "#b58900", "#c2557f", "#5f8a8b", "#8a7356", "#7c8896", "#3f9fbf", "#b07aa1"}

func newPicture(width, height int, title string) *picture {
	p := &picture{width: width, height: height}
	fmt.Fprintf(p, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n",
		width, height, width, height, html.EscapeString(title))
	p.WriteString(style)
	p.text(12, 24, "title", "start", title)
	return p
}

func (p *picture) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(p, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor, html.EscapeString(text))
}

func (p *picture) line(x1, y1, x2, y2 float64) {
	fmt.Fprintf(p, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="axis"/>`+"\n", x1, y1, x2, y2)
}

func (p *picture) rect(x, y, w, h float64, colour string) {
	fmt.Fprintf(p, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2" fill="%s"/>`+"\n", x, y, w, h, colour)
}

func (p *picture) end() string {
	p.WriteString("</svg>\n")
	return p.String()
}

// plots are the pictures of what was measured, by file name.
func plots(r result) map[string]string {
	all := map[string]string{}
	for i := range r.Tables {
		switch t := &r.Tables[i]; t.Name {
		case "cpu", "audit":
			all[t.Name+".svg"] = bars(t)
		case "throughput-hot", "throughput-many", "throughput-zipf", "p99-many", "memory":
			all[t.Name+".svg"] = curves(t)
		}
	}
	return all
}

// bars is a group of bars for each column, on a scale of its own.
func bars(t *table) string {
	const bar, gap, left, width = 18, 46, 130, 640
	group := bar*len(t.Rows) + gap
	p := newPicture(width, 40+group*len(t.Columns), t.Title)
	for c, column := range t.Columns {
		top := float64(40 + group*c)
		p.text(12, top+18, "", "start", column)
		most := 0.0
		for _, r := range t.Rows {
			most = max(most, r.value(c))
		}
		for i, r := range t.Rows {
			y := top + 26 + float64(bar*i)
			long := 0.0
			if v := r.value(c); v > 0 && most > 0 {
				long = v / most * (width - left - 80)
			}
			p.text(left-8, y+12, "", "end", r.Name)
			p.rect(left, y+2, max(long, 1), bar-5, colour(i))
			p.text(left+long+6, y+12, "small", "start", t.cell(r, c))
		}
	}
	return p.end()
}

// curves are the rows over the columns, which are numbers, both on logarithmic
// scales.
func curves(t *table) string {
	const left, right, top, bottom, width, height = 70, 150, 44, 50, 720, 400
	p := newPicture(width, height, t.Title)
	xs := make([]float64, len(t.Columns))
	for i, c := range t.Columns {
		if _, err := fmt.Sscan(c, &xs[i]); err != nil {
			return p.end()
		}
	}
	low, high := math.Inf(1), 0.0
	for _, r := range t.Rows {
		for c := range t.Columns {
			if v := r.value(c); v > 0 {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if high == 0 || len(xs) < 2 {
		return p.end()
	}
	low, high = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)+0.001))
	x := func(v float64) float64 {
		return left + (width-left-right)*math.Log(v/xs[0])/math.Log(xs[len(xs)-1]/xs[0])
	}
	y := func(v float64) float64 {
		return height - bottom - (height-top-bottom)*math.Log(v/low)/math.Log(high/low)
	}
	for v := low; v <= high*1.001; v *= 10 {
		p.line(left, y(v), width-right, y(v))
		p.text(left-8, y(v)+4, "small", "end", thousands(v))
	}
	for i, v := range xs {
		p.text(x(v), height-bottom+18, "small", "middle", t.Columns[i])
	}
	p.text((left+width-right)/2, height-12, "small", "middle", t.Over)
	// The first is drawn last, on top.
	for i := len(t.Rows) - 1; i >= 0; i-- {
		r := t.Rows[i]
		var points []string
		for c := range t.Columns {
			if v := r.value(c); v > 0 {
				points = append(points, fmt.Sprintf("%.1f,%.1f", x(xs[c]), y(v)))
			}
		}
		stroke := 1.5
		if i == 0 {
			stroke = 3.5
		}
		fmt.Fprintf(p, `<polyline points="%s" fill="none" stroke="%s" stroke-width="%.1f"/>`+"\n", strings.Join(points, " "), colour(i), stroke)
		p.rect(width-right+14, float64(top+20*i), 12, 12, colour(i))
		p.text(width-right+32, float64(top+20*i+11), "", "start", r.Name)
	}
	return p.end()
}

func colour(i int) string { return colours[i%len(colours)] }

// thousands is a round number, shortly.
func thousands(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%g M", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%g k", v/1e3)
	}
	return fmt.Sprintf("%g", v)
}
