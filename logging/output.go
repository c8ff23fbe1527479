package logging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	queueLimit   = 4 << 20         // bytes of lines waiting for the writer
	bufferKept   = 256 << 10       // buffers above this are given back after a burst
	flushTimeout = 3 * time.Second // how long the end of Run and a PANIC wait for a slow destination
)

// ErrNoCollector is Rotate's answer when there is no file to rotate.
var ErrNoCollector = errors.New("logging_collector is disabled")

// Output is where all log lines of the process go. New starts no goroutine: until Run runs, and after it ended, lines are
// written in the call of Log; meanwhile they pass through a bounded queue to one writer goroutine, so that no caller waits
// for a slow destination. What does not fit into the queue is counted, and the count is logged.
type Output struct {
	min    atomic.Int32 // rank of log_min_messages
	layout atomic.Pointer[layout]
	main   *Origin // speaks where a Logger has no origin
	pool   sync.Pool
	wake   chan struct{} // capacity 1: the queue has something
	now    func() time.Time
	limit  int

	mu     sync.Mutex // guards the queue
	queue  queue
	queued bool // a writer goroutine runs

	sinkMu sync.Mutex // guards sinks; held while writing
	sinks  sinks
}

// queue holds formatted lines in order. Two of them take turns, so a warm queue does not allocate.
type queue struct {
	text    []byte
	records []record
	lost    int
}

// record is a piece of queue.text, or something the writer shall do at this point.
type record struct {
	n   int
	sev Severity // 0: raw output of a command
	do  func()
}

// New opens the destinations of c. The Output lives until the process ends; Close releases its files.
func New(c Config) (*Output, error) { return newOutput(c, time.Now) }

func newOutput(c Config, now func() time.Time) (*Output, error) {
	o := &Output{
		main:  &Origin{App: "main", ProcessName: "main", PID: os.Getpid()},
		wake:  make(chan struct{}, 1),
		now:   now,
		limit: queueLimit,
	}
	o.pool.New = func() any { return new(lineBuffer) }
	o.sinks.now = now
	o.sinks.report = o.reportSink
	if err := o.Configure(c); err != nil {
		return nil, err
	}
	return o, nil
}

// To returns a Logger for tests and small programs that writes to w at once, with log_line_prefix = "" and everything
// from minimum up.
func To(w io.Writer, minimum Severity) Logger {
	c := Default()
	c.Writer, c.MinMessages, c.LinePrefix = w, minimum, ""
	o, err := New(c)
	if err != nil {
		panic("logging: " + err.Error()) // a Config without files and patterns cannot fail
	}
	return o.Logger()
}

// Logger returns the Logger of the main process.
func (o *Output) Logger() Logger { return Logger{out: o} }

// Configure puts the parameters of c into effect: levels and layout at once, destinations by the writer, before the next
// line. A file that was moved away is opened again. An error means that nothing changed; a destination that cannot be
// opened later is reported in the log instead, and standard error takes its place.
func (o *Output) Configure(c Config) error {
	plan, err := planSinks(c)
	if err != nil {
		return err
	}
	o.layout.Store(&layout{prefix: compilePrefix(c.LinePrefix), format: c.Format, verbosity: c.Verbosity})
	o.min.Store(c.MinMessages.rank())
	o.inWriter(func() { o.sinks.apply(plan) })
	return nil
}

// Rotate begins a new file, as pcp_log_rotate asks for; ErrNoCollector if lines do not go to files.
func (o *Output) Rotate() error {
	var err error
	done := o.inWriter(func() { err = o.sinks.rotate() })
	select {
	case <-done:
		return err
	case <-time.After(flushTimeout):
		return errors.New("log destination does not respond")
	}
}

// Flush waits until everything logged so far is written, or for at most d; it reports whether it is.
func (o *Output) Flush(d time.Duration) bool {
	done := o.inWriter(func() {})
	select {
	case <-done:
		return true
	default:
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// Close flushes and closes files and sockets; later lines go to standard error. Run must have ended.
func (o *Output) Close() {
	o.Flush(flushTimeout)
	o.inWriter(o.sinks.close)
}

// Run writes queued lines until ctx ends, then what is left. It gives up on a destination that blocks longer than a few
// seconds then; the writer goroutine is left behind in that case alone.
func (o *Output) Run(ctx context.Context) error {
	o.mu.Lock()
	o.queued = true
	o.mu.Unlock()
	done := make(chan struct{})
	go o.writeLoop(ctx, done)
	<-ctx.Done()
	t := time.NewTimer(flushTimeout)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-t.C:
		return fmt.Errorf("log destination does not respond, last lines are lost: %w", os.ErrDeadlineExceeded)
	}
}

func (o *Output) writeLoop(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	var batch queue
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for stop := false; !stop; {
		timer.Reset(o.rotateOnTime())
		select {
		case <-o.wake:
		case <-timer.C:
		case <-ctx.Done():
			stop = true
		}
		for o.swap(&batch, stop) {
			o.writeBatch(&batch)
		}
	}
}

// swap exchanges the empty batch for the queue and reports whether there is something to write. With stop, an empty queue
// ends queueing.
func (o *Output) swap(batch *queue, stop bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue.records) == 0 && o.queue.lost == 0 {
		o.queued = o.queued && !stop
		return false
	}
	*batch, o.queue = o.queue, *batch
	return true
}

// rotateOnTime begins a new file if that is due, though nothing is logged, and returns how long until the next.
func (o *Output) rotateOnTime() time.Duration {
	o.sinkMu.Lock()
	defer o.sinkMu.Unlock()
	return o.sinks.rotateOnTime()
}

func (o *Output) writeBatch(batch *queue) {
	o.sinkMu.Lock()
	defer o.sinkMu.Unlock()
	text := batch.text
	for i := 0; i < len(batch.records); {
		if do := batch.records[i].do; do != nil {
			do()
			i++
			continue
		}
		j, n := i, 0
		for ; j < len(batch.records) && batch.records[j].do == nil; j++ {
			n += batch.records[j].n
		}
		o.sinks.write(text[:n], batch.records[i:j])
		text, i = text[n:], j
	}
	if batch.lost > 0 {
		o.reportSink(Event{
			Severity: Warning, Message: strconv.Itoa(batch.lost) + " log messages were dropped",
			Detail: "The log destination is slower than messages arrive.",
		})
	}
	clear(batch.records)
	*batch = queue{text: batch.text[:0], records: batch.records[:0]}
	if cap(batch.text) > bufferKept {
		*batch = queue{}
	}
}

// inWriter has f called where the sinks may be used, after everything logged before; at once if no writer runs.
func (o *Output) inWriter(f func()) <-chan struct{} {
	done := make(chan struct{})
	call := func() { f(); close(done) }
	o.mu.Lock()
	if o.queued {
		o.queue.records = append(o.queue.records, record{do: call})
		o.mu.Unlock()
		o.awake()
		return done
	}
	o.mu.Unlock()
	o.sinkMu.Lock()
	defer o.sinkMu.Unlock()
	call()
	return done
}

func (o *Output) awake() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *Output) log(l Logger, e Event) {
	lay := o.layout.Load()
	v := lay.verbosity
	if l.verbosity != 0 {
		v = Verbosity(l.verbosity - 1)
	}
	origin := l.origin
	if origin == nil {
		origin = o.main
	}
	var loc location
	if v == Verbose {
		loc = callerLocation()
	}
	b := o.pool.Get().(*lineBuffer)
	b.b = b.b[:0]
	lay.appendTo(b, origin, o.now(), v, &e, loc)
	o.put(b.b, e.Severity)
	if cap(b.b) <= bufferKept {
		o.pool.Put(b)
	}
	if e.Severity == Panic {
		o.Flush(flushTimeout)
	}
}

// put queues one piece of text, or writes it if no writer runs. FATAL and PANIC find room in a full queue.
func (o *Output) put(text []byte, sev Severity) {
	limit := o.limit
	if sev == Fatal || sev == Panic {
		limit *= 2
	}
	o.mu.Lock()
	if !o.queued {
		o.mu.Unlock()
		o.sinkMu.Lock()
		defer o.sinkMu.Unlock()
		o.sinks.write(text, []record{{n: len(text), sev: sev}})
		return
	}
	if len(o.queue.text)+len(text) > limit {
		o.queue.lost++
	} else {
		o.queue.text = append(o.queue.text, text...)
		o.queue.records = append(o.queue.records, record{n: len(text), sev: sev})
	}
	o.mu.Unlock()
	o.awake()
}

// reportSink writes an event about the sinks themselves. sinkMu is held.
func (o *Output) reportSink(e Event) {
	if e.Severity.rank() < o.min.Load() {
		return
	}
	var b lineBuffer
	lay := o.layout.Load()
	lay.appendTo(&b, o.main, o.now(), lay.verbosity, &e, location{})
	o.sinks.write(b.b, []record{{n: len(b.b), sev: e.Severity}})
}
