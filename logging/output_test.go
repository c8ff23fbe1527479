package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func plainConfig(w io.Writer) Config {
	c := Default()
	c.Writer, c.LinePrefix = w, ""
	return c
}

func newTestOutput(t *testing.T, c Config) *Output {
	t.Helper()
	o, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// runOutput runs o and returns what ends it and tells how.
func runOutput(o *Output) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

// lockedBuffer is read while the writer writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// slowWriter lets one write through per token.
type slowWriter struct {
	lockedBuffer
	tokens chan struct{}
}

func (w *slowWriter) Write(p []byte) (int, error) {
	<-w.tokens
	return w.lockedBuffer.Write(p)
}

func TestZeroLoggerDiscards(t *testing.T) {
	var l Logger
	if l.Enabled(Panic) {
		t.Error("enabled")
	}
	l.With(&Origin{}).WithLevel(Debug5).WithVerbosity(Verbose).Log(Event{Severity: Panic, Message: "x"})
	w := l.LineWriter()
	if n, err := w.Write([]byte("abc\n")); n != 4 || err != nil || w.Close() != nil {
		t.Errorf("LineWriter: %d, %v", n, err)
	}
}

func TestSessionLevels(t *testing.T) {
	var b bytes.Buffer
	o := newTestOutput(t, plainConfig(&b))
	l := o.Logger()
	e := Event{Severity: Notice, Message: "m", Detail: "d"}
	l.Log(e)
	l.WithLevel(Notice).Log(e)
	l.WithLevel(Notice).WithVerbosity(Terse).Log(e)
	l.WithLevel(Notice).WithLevel(0).Log(e)
	l.WithLevel(Notice).WithVerbosity(Terse).WithVerbosity(-1).Log(e)
	e.Severity = Error
	l.WithLevel(Fatal).Log(e)
	if got, want := b.String(), strings.Repeat("NOTICE:  m\nDETAIL:  d\n", 1)+"NOTICE:  m\nNOTICE:  m\nDETAIL:  d\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestVerboseNamesTheCaller(t *testing.T) {
	var b bytes.Buffer
	newTestOutput(t, plainConfig(&b)).Logger().WithVerbosity(Verbose).Log(Event{Message: "m"})
	if !strings.Contains(b.String(), "LOCATION:  logging.TestVerboseNamesTheCaller, output_test.go:") {
		t.Errorf("got %q", b.String())
	}
}

func TestDefaultPrefixAndOrigin(t *testing.T) {
	var b bytes.Buffer
	c := Default()
	c.Writer = &b
	o, err := newOutput(c, testTime)
	if err != nil {
		t.Fatal(err)
	}
	o.Logger().Log(Event{Severity: Warning, Message: "m"})
	session := &Origin{App: "psql", PID: 12}
	o.Logger().With(session).Log(Event{Severity: Warning, Message: "m"})
	want := fmt.Sprintf("2024-03-09 07:05:04.032: main pid %d: WARNING:  m\n2024-03-09 07:05:04.032: psql pid 12: WARNING:  m\n", os.Getpid())
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestRunKeepsOrderAndWritesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b lockedBuffer
		o := newTestOutput(t, plainConfig(&b))
		l := o.Logger()
		want := &strings.Builder{}
		log := func(i int) {
			l.Log(Event{Severity: Log, Message: fmt.Sprint(i)})
			fmt.Fprintf(want, "LOG:  %d\n", i)
		}
		log(0)
		stop := runOutput(o)
		synctest.Wait()
		for i := 1; i < 1000; i++ {
			log(i)
		}
		if !o.Flush(time.Second) || b.String() != want.String() {
			t.Error("Flush returned before everything was written")
		}
		log(1000)
		if err := stop(); err != nil {
			t.Error(err)
		}
		log(1001) // after the end: at once again
		if b.String() != want.String() {
			t.Errorf("got %q", b.String())
		}
	})
}

func TestManySpeakers(t *testing.T) {
	var b lockedBuffer
	o := newTestOutput(t, plainConfig(&b))
	stop := runOutput(o)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			l := o.Logger().With(&Origin{App: "x"})
			for range 200 {
				l.Log(Event{Severity: Log, Message: "m", Detail: "d"})
			}
		})
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := strings.Count(b.String(), "LOG:  m\nDETAIL:  d\n"); got != 1600 {
		t.Errorf("%d whole events of 1600", got)
	}
}

func TestSlowDestinationBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{tokens: make(chan struct{})}
		o := newTestOutput(t, plainConfig(w))
		o.limit = 100
		stop := runOutput(o)
		synctest.Wait()
		l := o.Logger()
		l.Log(Event{Severity: Log, Message: "first"})
		synctest.Wait()  // the writer is stuck in its first write
		for range 1000 { // none of these calls may block
			l.Log(Event{Severity: Log, Message: "x"}) // 8 bytes
		}
		l.Log(Event{Severity: Fatal, Message: "last"}) // finds room
		close(w.tokens)
		if err := stop(); err != nil {
			t.Error(err)
		}
		want := "LOG:  first\n" + strings.Repeat("LOG:  x\n", 12) + "FATAL:  last\n" +
			"WARNING:  988 log messages were dropped\nDETAIL:  The log destination is slower than messages arrive.\n"
		if got := w.String(); got != want {
			t.Errorf("got %q\nwant %q", got, want)
		}
	})
}

func TestStuckDestinationDoesNotHoldTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{tokens: make(chan struct{})}
		o, err := New(plainConfig(w))
		if err != nil {
			t.Fatal(err)
		}
		stop := runOutput(o)
		synctest.Wait()
		o.Logger().Log(Event{Severity: Log, Message: "x"})
		synctest.Wait()
		start := time.Now()
		if err := o.Rotate(); err == nil {
			t.Error("Rotate says it was done")
		}
		o.Logger().Log(Event{Severity: Panic, Message: "waits, but not for ever"})
		if err := stop(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Run: %v", err)
		}
		if d := time.Since(start); d != 3*flushTimeout {
			t.Errorf("took %v", d)
		}
		close(w.tokens) // lets the writer go, so that the bubble can end
	})
}

func TestConfigureWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var one, two lockedBuffer
		o := newTestOutput(t, plainConfig(&one))
		stop := runOutput(o)
		synctest.Wait()
		l := o.Logger()
		l.Log(Event{Severity: Log, Message: "1"})
		c := plainConfig(&two)
		c.LinePrefix, c.MinMessages = "%a> ", Fatal
		if err := o.Configure(c); err != nil {
			t.Fatal(err)
		}
		l.Log(Event{Severity: Log, Message: "2"})
		l.Log(Event{Severity: Fatal, Message: "3"})
		c.Collector, c.Filename, c.Directory = true, "%!", t.TempDir()
		if err := o.Configure(c); err == nil {
			t.Error("bad log_filename accepted")
		}
		l.Log(Event{Severity: Fatal, Message: "4"})
		if err := stop(); err != nil {
			t.Error(err)
		}
		if one.String() != "LOG:  1\n" || two.String() != "main> FATAL:  3\nmain> FATAL:  4\n" {
			t.Errorf("got %q and %q", one.String(), two.String())
		}
	})
}

func TestLineWriter(t *testing.T) {
	var b bytes.Buffer
	c := plainConfig(&b)
	c.LinePrefix = "prefix "
	o := newTestOutput(t, c)
	w := o.Logger().LineWriter()
	for _, s := range []string{"one\ntw", "o\n\nthr", "ee"} {
		if n, err := io.WriteString(w, s); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if b.String() != "one\ntwo\n\n" {
		t.Errorf("whole lines: got %q", b.String())
	}
	_ = w.Close()
	_ = w.Close()
	if b.String() != "one\ntwo\n\nthree\n" {
		t.Errorf("got %q", b.String())
	}

	b.Reset()
	c.Format = JSON
	if err := o.Configure(c); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, "one\n")
	if !strings.Contains(b.String(), `"message":"one","reason":"command output"`) {
		t.Errorf("JSON: got %q", b.String())
	}

	b.Reset()
	c.Format = Text
	if err := o.Configure(c); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("y", 3*maxCommandLine)
	_, _ = io.WriteString(w, long)
	if want := strings.Repeat(long[:maxCommandLine]+"\n", 3); b.String() != want {
		t.Errorf("a line without end is held back: %d bytes written", b.Len())
	}
}

func TestDisabledAndQueuedDoNotAllocate(t *testing.T) {
	if testing.CoverMode() != "" || raceEnabled {
		t.Skip("allocations are counted without the race detector and coverage only")
	}
	o := newTestOutput(t, plainConfig(io.Discard))
	l := o.Logger().With(&Origin{App: "psql"})
	if n := testing.AllocsPerRun(100, func() { l.Log(Event{Severity: Debug1, Message: "m"}) }); n != 0 {
		t.Errorf("a disabled call allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { l.Log(Event{Severity: Log, Message: "m", Detail: "d"}) }); n > 1 {
		t.Errorf("a line allocates %v times", n)
	}
}

func BenchmarkLog(b *testing.B) {
	for _, f := range []struct {
		name   string
		format Format
	}{{"text", Text}, {"json", JSON}} {
		b.Run(f.name, func(b *testing.B) {
			c := Default()
			c.Writer, c.Format = io.Discard, f.format
			o, err := New(c)
			if err != nil {
				b.Fatal(err)
			}
			l := o.Logger().With(&Origin{App: "psql"})
			b.ReportAllocs()
			for b.Loop() {
				l.Log(Event{Severity: Log, Message: "statement: SELECT 1"})
			}
		})
	}
}
