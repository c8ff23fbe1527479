package mesh

import "sync"

const (
	queueCount = 1024
	queueBytes = 2 * MaxPayload
	batchBytes = 64 << 10
)

// queue holds the messages to a peer until the connection that carries them takes them. When it is full the oldest give way.
type queue struct {
	mu      sync.Mutex // guards all below
	carrier *link      // the connection that may take; nil: there is none, and nothing is kept
	items   [][]byte
	bytes   int
	lost    uint64 // messages that gave way, or had no connection
}

// push adds a message.
func (q *queue) push(payload []byte) {
	q.mu.Lock()
	carrier := q.carrier
	if carrier == nil {
		q.lost++
		q.mu.Unlock()
		return
	}
	q.items = append(q.items, payload)
	q.bytes += len(payload)
	for len(q.items) > queueCount || q.bytes > queueBytes {
		q.bytes -= len(q.items[0])
		q.items[0] = nil
		q.items = q.items[1:]
		q.lost++
	}
	q.mu.Unlock()
	carrier.nudge()
}

// take returns some of the oldest messages if l is the carrier: about batchBytes, but at least one.
func (q *queue) take(l *link) [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.carrier != l || len(q.items) == 0 {
		return nil
	}
	n, size := 0, 0
	for n < len(q.items) && (n == 0 || size+len(q.items[n]) <= batchBytes) {
		size += len(q.items[n])
		n++
	}
	batch := q.items[:n:n]
	q.items = q.items[n:]
	q.bytes -= size
	return batch
}

// carry makes l the carrier; without one, what waits is dropped.
func (q *queue) carry(l *link) {
	q.mu.Lock()
	q.carrier = l
	if l == nil {
		q.lost += uint64(len(q.items))
		q.items, q.bytes = nil, 0
	}
	q.mu.Unlock()
	if l != nil {
		l.nudge()
	}
}

func (q *queue) dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}
