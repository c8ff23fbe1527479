package main

import (
	"fmt"
	"html"
	"strings"
)

// The colours are of middle lightness, text included, so that the picture reads on a light and on a dark page alike;
// there is no background.
const (
	textColour = "#7d838b"
	lineColour = "#7d838b55"
)

func barColour(contender string) string {
	switch contender {
	case pgbouncer:
		return "#cf8a2e"
	case pgpool2:
		return "#5b8def"
	case gopgpool:
		return "#23a06b"
	default:
		return "#9aa0a6"
	}
}

func displayName(contender string) string {
	switch contender {
	case pgbouncer:
		return "PgBouncer"
	case pgpool2:
		return "Pgpool-II"
	default:
		return contender
	}
}

// Geometry, in pixels: labels, then two columns of bars with room for a value behind each.
const (
	chartWidth  = 900
	tpsLeft     = 150
	cpuLeft     = 580
	plotWidth   = 240
	barHeight   = 11
	barStep     = 13
	groupGap    = 9
	sectionGap  = 44
	legendSpace = 52
)

// section is a block of the chart with its own scales.
type section struct {
	title string
	rows  []rowResult
}

// chartSections picks the rows to draw: those of the targets.
func chartSections(r report) []section {
	sections := []section{
		{title: "one server, pgbench -S"},
		{title: "primary and two standbys, pgbench -S, each statement balanced"},
		{title: "one server, a new connection for each transaction (-C)"},
	}
	for _, want := range quickRows() {
		found, ok := r.row(want.id())
		if !ok {
			continue
		}
		i := 0
		switch {
		case want.Topology == threeBackends:
			i = 1
		case want.Reconnect:
			i = 2
		}
		sections[i].rows = append(sections[i].rows, found)
	}
	return sections
}

// drawing is an SVG being written from top to bottom.
type drawing struct {
	body strings.Builder
	y    int
}

func (d *drawing) text(x, y int, anchor, text string) {
	fmt.Fprintf(&d.body, `<text x="%d" y="%d" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(text))
}

func (d *drawing) heading(x, y int, text string) {
	fmt.Fprintf(&d.body, `<text x="%d" y="%d" font-weight="600">%s</text>`+"\n", x, y, html.EscapeString(text))
}

// bar draws a value and writes it behind the bar.
func (d *drawing) bar(x int, share float64, colour, label string) {
	width := max(1, int(share*plotWidth+0.5))
	fmt.Fprintf(&d.body, `<rect x="%d" y="%d" width="%d" height="%d" rx="2" fill="%s"/>`+"\n", x, d.y, width, barHeight, colour)
	d.text(x+width+5, d.y+barHeight-1, "start", label)
}

func (d *drawing) legend(names []string) {
	x := tpsLeft
	for _, name := range names {
		fmt.Fprintf(&d.body, `<rect x="%d" y="10" width="12" height="12" rx="2" fill="%s"/>`+"\n", x, barColour(name))
		d.text(x+17, 20, "start", displayName(name))
		x += 110
	}
	d.heading(tpsLeft, 44, "throughput (more is better)")
	d.heading(cpuLeft, 44, "processor time of the proxy (less is better)")
	d.y = legendSpace
}

// section draws its rows on scales of their own.
func (d *drawing) section(s section) {
	var mostTPS, mostCPU float64
	for _, r := range s.rows {
		for _, c := range r.Cells {
			mostTPS, mostCPU = max(mostTPS, c.TPS), max(mostCPU, c.CPU)
		}
	}
	fmt.Fprintf(&d.body, `<line x1="10" x2="%d" y1="%d" y2="%d" stroke="%s"/>`+"\n", chartWidth-10, d.y+6, d.y+6, lineColour)
	d.heading(10, d.y+24, s.title)
	d.y += sectionGap - groupGap
	for _, r := range s.rows {
		d.group(r, mostTPS, mostCPU)
	}
}

func (d *drawing) group(r rowResult, mostTPS, mostCPU float64) {
	d.text(tpsLeft-10, d.y+barStep*len(r.Cells)/2+3, "end", fmt.Sprintf("%s, %s", r.Mode, r.crowd()))
	for _, c := range r.Cells {
		switch {
		case !c.ok():
			d.text(tpsLeft, d.y+barHeight-1, "start", "failed")
		default:
			d.bar(tpsLeft, share(c.TPS, mostTPS), barColour(c.Contender), fmt.Sprintf("%.0f/s · %.2f × direct", c.TPS, c.Ratio))
			if c.Contender != direct {
				d.bar(cpuLeft, share(c.CPU, mostCPU), barColour(c.Contender), fmt.Sprintf("%.1f µs", c.CPU))
			}
		}
		d.y += barStep
	}
	d.y += groupGap
}

func share(value, most float64) float64 {
	if most <= 0 {
		return 0
	}
	return value / most
}

// chart draws the rows of the targets as an SVG.
func chart(r report) string {
	var d drawing
	d.legend([]string{direct, pgbouncer, pgpool2, gopgpool})
	for _, s := range chartSections(r) {
		if len(s.rows) > 0 {
			d.section(s)
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" `+
		`font-family="system-ui, sans-serif" font-size="12" fill="%[3]s">
<title>Throughput and processor time of direct connections, PgBouncer, Pgpool-II and gopgpool</title>
%[4]s</svg>
`, chartWidth, d.y+10, textColour, d.body.String())
}
