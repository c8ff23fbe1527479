package logging

import "bytes"

// maxCommandLine bounds a line of a command's output held back until its end is seen.
const maxCommandLine = 8 << 10

// lineWriter passes on the output of a command in whole lines. It is used by one goroutine.
type lineWriter struct {
	log  Logger
	part []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	if w.log.out == nil {
		return n, nil
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i >= 0 {
			w.part = append(w.part, p[:i+1]...)
			p = p[i+1:]
			w.emit()
			continue
		}
		take := min(len(p), maxCommandLine-len(w.part))
		w.part = append(w.part, p[:take]...)
		p = p[take:]
		if len(w.part) >= maxCommandLine {
			w.emit()
		}
	}
	return n, nil
}

// Close writes an unfinished last line.
func (w *lineWriter) Close() error {
	if len(w.part) > 0 {
		w.emit()
	}
	return nil
}

func (w *lineWriter) emit() {
	line := bytes.TrimRight(w.part, "\n")
	if w.log.out.layout.Load().format == JSON {
		w.log.out.log(w.log, Event{Severity: Log, Message: string(line), Reason: "command output"})
	} else {
		w.log.out.put(append(line, '\n'), 0)
	}
	w.part = w.part[:0]
}
