package main

import (
	"fmt"
	"io"
)

func (r report) markdownIdle(w io.Writer) {
	if len(r.Idle) == 0 {
		return
	}
	fmt.Fprintf(w, "## Idle clients\n\n"+
		"| clients | contender | number | memory before MB | with them MB | bytes per client | server connections |\n|---|---|--:|--:|--:|--:|--:|\n")
	for _, i := range r.Idle {
		if i.Error != "" {
			fmt.Fprintf(w, "| %s | %s | %d | failed | | | |\n", i.what(), i.Contender, i.Clients)
			continue
		}
		fmt.Fprintf(w, "| %s | %s | %d | %s | %s | %d | %d |\n",
			i.what(), i.Contender, i.Clients, megabytes(i.Before), megabytes(i.After), i.perClient(), i.ServerConnections)
	}
	fmt.Fprintln(w)
}

func (r report) markdownConnects(w io.Writer) {
	if len(r.Connects) == 0 {
		return
	}
	fmt.Fprintf(w, "## Connections a second\n\nTransaction mode, %d clients at once: connect, log in without a password, SELECT 1, leave.\n\n"+
		"| contender | a second | slowest second | CPU µs | p50 ms | p99 ms |\n|---|--:|--:|--:|--:|--:|\n", connectWorkers)
	for _, c := range r.Connects {
		if c.Error != "" {
			fmt.Fprintf(w, "| %s | failed | | | | |\n", c.Contender)
			continue
		}
		fmt.Fprintf(w, "| %s | %.0f | %d | %.1f | %s | %s |\n",
			c.Contender, c.Rate, c.Slowest, c.CPU, milliseconds(c.P50), milliseconds(c.P99))
	}
	fmt.Fprintln(w)
}

func (r report) markdownVirtual(w io.Writer) {
	if r.Virtual == nil {
		return
	}
	fmt.Fprintf(w, "## Following a session's state when it does not change\n\n"+
		"Share of the proxy's processor time, kernel included, with a frame in the code that follows, compares and replays state "+
		"(`perf`, transaction mode,\na connection for each client).\n\n"+
		"| row | samples | inside | share |\n|---|--:|--:|--:|\n")
	for _, v := range r.Virtual.Rows {
		fmt.Fprintf(w, "| %s | %d | %d | %.1f %% |\n", v.Row, v.Samples, v.Inside, v.percent())
	}
	fmt.Fprintln(w)
}
