package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"gopgpool/cluster"
	"gopgpool/replication/conninfo"
)

// verb is what an agent is asked to do. There are no others, and none takes a program, an option or a path, but for files that a log-in
// names (conninfo.ParseLogin).
type verb string

const (
	verbControl    verb = "control"
	verbStart      verb = "start"
	verbStop       verb = "stop"
	verbPromote    verb = "promote"
	verbStandby    verb = "standby"
	verbRewind     verb = "rewind"
	verbBaseBackup verb = "base_backup"
	verbRenew      verb = "renew"
	verbStay       verb = "stay" // the client is there and waits
)

// order is a frame of the client.
type order struct {
	Verb   verb             `json:"verb"`
	Term   cluster.Term     `json:"term,omitempty"`
	Mode   cluster.StopMode `json:"mode,omitempty"`
	Source *cluster.Source  `json:"source,omitempty"`
}

// answer is a frame of the agent. Unless Done, it only says that the agent is at it.
type answer struct {
	Done    bool             `json:"done,omitempty"`
	End     cluster.LSN      `json:"end,omitempty"`
	Control *cluster.Control `json:"control,omitempty"`
	Error   string           `json:"error,omitempty"`
	Kind    string           `json:"kind,omitempty"` // which of the errors that callers tell apart
}

var errOrder = errors.New("an order that is none")

// errRekeyed is the answer on a connection that was let in by a key, or certificates, that are not in force any more. Nothing was done.
var errRekeyed = errors.New("the agent has another key since this connection was let in")

// parseOrder reads an order, and refuses what this release does not know.
func parseOrder(text []byte) (order, error) {
	var o order
	if err := decode(text, &o); err != nil {
		return order{}, err
	}
	switch o.Verb {
	case verbControl, verbStart, verbPromote, verbRenew, verbStay:
		if o.Source != nil || o.Mode != 0 {
			return order{}, errOrder
		}
	case verbStop:
		if o.Source != nil || o.Mode > cluster.StopNow {
			return order{}, errOrder
		}
	case verbStandby, verbRewind, verbBaseBackup:
		if o.Source == nil || o.Source.Host == "" || o.Source.Port < 1 || o.Source.Port > 65535 {
			return order{}, errOrder
		}
		if _, err := conninfo.ParseLogin(o.Source.Login); err != nil {
			return order{}, fmt.Errorf("%w: %w", errOrder, err)
		}
	default:
		return order{}, errOrder
	}
	return o, nil
}

func decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", errOrder, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errOrder
	}
	return nil
}

// kinds are the errors that go over the wire as such.
func kinds() map[string]error {
	return map[string]error{
		"old_term": cluster.ErrOldTerm, "busy": cluster.ErrBusy, "cannot_rewind": cluster.ErrCannotRewind, "needs_agent": cluster.ErrNeedsAgent,
		"runs": errRuns, "broken": errBroken, "ended": cluster.ErrEnded, "order": errOrder,
		"rekeyed": errRekeyed,
	}
}

// kindOf names the error for the other side. One that cannot be rewound because a rewind has not ended is both; the first counts.
func kindOf(err error) string {
	for _, name := range []string{"old_term", "busy", "cannot_rewind", "needs_agent", "runs", "broken", "ended", "order", "rekeyed"} {
		if errors.Is(err, kinds()[name]) {
			return name
		}
	}
	return ""
}

// farError is what an agent has answered.
type farError struct {
	text string
	kind error // may be nil
}

func (e *farError) Error() string { return e.text }
func (e *farError) Unwrap() error { return e.kind }
