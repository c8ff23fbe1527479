package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// connectWorkers is how many clients connect at once, over and over. pgbench -C is no measure for a rate: it is limited by
// itself.
const connectWorkers = 16

// connectResult is how fast one contender takes clients that connect, log in, run one statement and leave. The rates are
// those of whole seconds.
type connectResult struct {
	Contender string  `json:"contender"`
	Rate      float64 `json:"connects_per_second"`         // median of the seconds
	Slowest   int64   `json:"connects_in_slowest_second"`  // of all runs
	P50       int64   `json:"latency_p50_us"`              // dialling to the last answer
	P99       int64   `json:"latency_p99_us"`              //
	CPU       float64 `json:"proxy_cpu_us_per_connection"` //
	Connects  int64   `json:"connections"`
	Error     string  `json:"error,omitempty"`
}

// connecting is what all runs of one contender gave.
type connecting struct {
	seconds   []int64 // connections completed in each whole second
	latencies []int64 // microseconds
	cpu       time.Duration
	err       error
}

// measureConnects lets the contenders of transaction mode take turns.
func (r *runner) measureConnects(ctx context.Context) ([]connectResult, error) {
	s, err := r.startStage(ctx, pooled)
	if err != nil {
		return nil, err
	}
	defer s.close()
	all := make([]connecting, len(s.contenders))
	for round := range r.opts.rounds {
		for k := range s.contenders {
			i := (k + round) % len(s.contenders)
			all[i].add(ctx, s.contenders[i], r.opts.seconds)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
		}
	}
	var results []connectResult
	for i, c := range s.contenders {
		result := all[i].result(c.name)
		printConnects(os.Stdout, result)
		results = append(results, result)
	}
	return results, nil
}

// add is one run.
func (m *connecting) add(ctx context.Context, c *contender, seconds int) {
	before, err := c.cpu()
	if err != nil {
		m.err = errors.Join(m.err, err)
		return
	}
	done, latencies, err := connectFor(ctx, seconds, func() error { return connectOnce(c.port) })
	after, cpuErr := c.cpu()
	m.seconds = append(m.seconds, done...)
	m.latencies = append(m.latencies, latencies...)
	m.cpu += after - before
	m.err = errors.Join(m.err, err, cpuErr)
}

func (m *connecting) result(name string) connectResult {
	result := connectResult{Contender: name, Connects: int64(len(m.latencies))}
	if m.err != nil {
		result.Error = m.err.Error()
	}
	if len(m.latencies) == 0 || len(m.seconds) == 0 {
		return result
	}
	slices.Sort(m.latencies)
	result.Rate, result.Slowest = float64(median(m.seconds)), slices.Min(m.seconds)
	result.P50, result.P99 = percentile(m.latencies, 0.50), percentile(m.latencies, 0.99)
	result.CPU = float64(m.cpu.Microseconds()) / float64(result.Connects)
	return result
}

// connectFor lets clients live, one life after the other, for so many whole seconds; it returns the number done in each, and how
// long each took. The first error ends it.
func connectFor(ctx context.Context, seconds int, once func() error) (done, latencies []int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
	defer cancel()
	counts := make([]atomic.Int64, seconds)
	took := make([][]int64, connectWorkers)
	failed := make([]error, connectWorkers)
	began := time.Now()
	var workers sync.WaitGroup
	for w := range connectWorkers {
		workers.Go(func() {
			for ctx.Err() == nil {
				start := time.Now()
				if failed[w] = once(); failed[w] != nil {
					cancel()
					return
				}
				end := time.Now()
				took[w] = append(took[w], end.Sub(start).Microseconds())
				if second := int(end.Sub(began) / time.Second); second < seconds {
					counts[second].Add(1)
				}
			}
		})
	}
	workers.Wait()
	for i := range counts {
		done = append(done, counts[i].Load())
	}
	return done, slices.Concat(took...), errors.Join(failed...)
}

// connectOnce is the whole life of a client. It speaks by hand what the login without a password needs, so that the clients
// leave the processors to the proxy.
func connectOnce(port int) error {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)), 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	in := bufio.NewReaderSize(conn, 2048)
	for _, send := range [][]byte{startupPacket(), queryPacket("SELECT 1")} {
		if _, err := conn.Write(send); err != nil {
			return err
		}
		if err := untilReady(in); err != nil {
			return err
		}
	}
	_, err = conn.Write([]byte{'X', 0, 0, 0, 4})
	return err
}

func startupPacket() []byte {
	p := binary.BigEndian.AppendUint32(make([]byte, 4), 3<<16)
	p = append(p, "user\x00"+userName+"\x00database\x00"+databaseName+"\x00\x00"...)
	binary.BigEndian.PutUint32(p, uint32(len(p)))
	return p
}

func queryPacket(sql string) []byte {
	p := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(len(sql)+5))
	return append(append(p, sql...), 0)
}

// untilReady reads messages up to ReadyForQuery; an error message is an error.
func untilReady(in *bufio.Reader) error {
	for {
		var header [5]byte
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint32(header[1:])) - 4
		if size < 0 {
			return fmt.Errorf("message %q has a length of %d", header[0], size)
		}
		if header[0] == 'E' {
			text := make([]byte, min(size, 1000))
			_, err := io.ReadFull(in, text)
			return errors.Join(fmt.Errorf("refused: %q", text), err)
		}
		if _, err := in.Discard(size); err != nil {
			return err
		}
		if header[0] == 'Z' {
			return nil
		}
	}
}

func printConnects(w io.Writer, c connectResult) {
	if c.Error != "" {
		fmt.Fprintf(w, "connects, %s: failed: %s\n", c.Contender, c.Error)
		return
	}
	fmt.Fprintf(w, "connects, %-10s %6.0f/s, slowest second %d, p50 %s p99 %s ms, cpu %.1f µs\n",
		c.Contender, c.Rate, c.Slowest, milliseconds(c.P50), milliseconds(c.P99), c.CPU)
}
