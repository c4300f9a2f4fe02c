package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// series is one line of a chart.
type series struct {
	name, color string
	values      []float64 // one per step
}

// chart is a line chart with a logarithmic y axis, written as SVG.
type chart struct {
	title, x, y string
	lines       []series
}

const (
	chartWidth, chartHeight         = 720.0, 420.0
	chartLeft, chartRight           = 80.0, 160.0
	chartTop, chartBottom           = 48.0, 56.0
	chartFont                       = "font-family='sans-serif' font-size='12'"
	chartInk, chartGrid, chartPaper = "#333333", "#dddddd", "#ffffff"
)

// svg draws the chart.
func (c chart) svg() string {
	lo, hi, steps := c.bounds()
	xAt := func(i int) float64 {
		return chartLeft + (chartWidth-chartLeft-chartRight)*float64(i)/float64(max(1, steps-1))
	}
	yAt := func(v float64) float64 {
		f := (math.Log10(max(v, 1)) - lo) / (hi - lo)
		return chartHeight - chartBottom - (chartHeight-chartTop-chartBottom)*f
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns='http://www.w3.org/2000/svg' width='%g' height='%g' viewBox='0 0 %g %g'>\n", chartWidth, chartHeight, chartWidth, chartHeight)
	fmt.Fprintf(&b, "<rect width='100%%' height='100%%' fill='%s'/>\n", chartPaper)
	text := func(x, y float64, anchor, s string) {
		fmt.Fprintf(&b, "<text x='%.1f' y='%.1f' text-anchor='%s' fill='%s' %s>%s</text>\n", x, y, anchor, chartInk, chartFont, html.EscapeString(s))
	}
	text(chartWidth/2, 24, "middle", c.title)
	text((chartLeft+chartWidth-chartRight)/2, chartHeight-14, "middle", c.x)
	text(12, chartTop-14, "start", c.y)
	for d := lo; d <= hi; d++ {
		y := yAt(math.Pow(10, d))
		fmt.Fprintf(&b, "<line x1='%g' x2='%g' y1='%.1f' y2='%.1f' stroke='%s'/>\n", chartLeft, chartWidth-chartRight, y, y, chartGrid)
		text(chartLeft-8, y+4, "end", bytesText(int64(math.Pow(10, d))))
	}
	for i := 0; i < steps; i += max(1, steps/8) {
		text(xAt(i), chartHeight-chartBottom+18, "middle", fmt.Sprint(i+1))
	}
	for _, s := range c.lines {
		pts := make([]string, len(s.values))
		for i, v := range s.values {
			pts[i] = fmt.Sprintf("%.1f,%.1f", xAt(i), yAt(v))
		}
		fmt.Fprintf(&b, "<polyline fill='none' stroke='%s' stroke-width='2' points='%s'/>\n", s.color, strings.Join(pts, " "))
		if n := len(s.values); n > 0 {
			text(xAt(n-1)+8, yAt(s.values[n-1])+4, "start", s.name)
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// bounds returns the decades of the y axis and the number of steps.
func (c chart) bounds() (lo, hi float64, steps int) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, s := range c.lines {
		steps = max(steps, len(s.values))
		for _, v := range s.values {
			l := math.Log10(max(v, 1))
			lo, hi = min(lo, math.Floor(l)), max(hi, math.Ceil(l))
		}
	}
	if !(lo < hi) {
		lo, hi = 0, 1
	}
	return lo, hi, steps
}
