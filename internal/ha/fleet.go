package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gopgpool/internal/pgcluster"
)

// fleet is a set of clients at work. Numbers of rows go on from one fleet to the next, see census.
type fleet struct {
	clients []*client
	stopC   chan struct{}
	wg      sync.WaitGroup
	halted  bool
}

// notes are what a fleet leaves.
type notes struct {
	Attempts []attempt // sorted by nothing
	Until    time.Time // when they were told to stop
	Slowest  []attempt // of each client, the acknowledged attempt that took longest
}

// census gives each client, by role, its next number, so that no two statements of a run have the same name.
type census [3]map[int]int

func newCensus() census { return census{{}, {}, {}} }

// crew says how many of each role there are.
type crew struct {
	Writers, Readers, Idlers int
	Committers               int // writers of another kind, in their place
	Think                    time.Duration
}

// startFleet lets the clients begin. The caller stops the fleet.
func startFleet(dsn string, c crew, rows census) *fleet {
	f := &fleet{stopC: make(chan struct{})}
	add := func(r role, n int) {
		for id := range n {
			one := &client{role: r, id: id, dsn: dsn, think: c.Think, stop: f.stopC, commits: r == writer && c.Committers > 0}
			one.seq = rows[r][id]
			f.clients = append(f.clients, one)
		}
	}
	add(writer, c.Writers+c.Committers)
	add(reader, c.Readers)
	add(idler, c.Idlers)
	for _, one := range f.clients {
		f.wg.Go(one.run)
	}
	return f
}

// commits tells whether its writers are committers.
func (f *fleet) commits() bool { return len(f.clients) > 0 && f.clients[0].commits }

// halt has the clients finish what they are at and waits for them. The second time it does nothing.
func (f *fleet) halt() {
	if f.halted {
		return
	}
	f.halted = true
	close(f.stopC)
	f.wg.Wait()
}

// gather halts the fleet and returns what it has noted.
func (f *fleet) gather(rows census) notes {
	n := notes{Until: time.Now()}
	f.halt()
	for _, c := range f.clients {
		n.Attempts = append(n.Attempts, c.attempts...)
		n.Slowest = append(n.Slowest, c.slowest)
		rows[c.role][c.id] = c.seq
	}
	return n
}

// awaitWork waits until every client of the wanted roles has had an acknowledged statement that was sent after since.
func (f *fleet) awaitWork(ctx context.Context, since time.Time, wanted ...role) error {
	var laggard *client
	err := pgcluster.Poll(ctx, "every client works", func() (bool, error) {
		laggard = nil
		for _, c := range f.clients {
			for _, r := range wanted {
				if c.role == r && c.lastAcked.Load() <= since.UnixNano() {
					laggard = c
				}
			}
		}
		return laggard == nil, nil
	})
	if err != nil && laggard != nil {
		return fmt.Errorf("%s %d: %w", laggard.role, laggard.id, err)
	}
	return err
}
