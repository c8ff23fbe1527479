package syncguard

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// locked lets nobody in.
type locked struct{ Servers }

func (locked) Open(context.Context, cluster.Node) (Session, error) {
	return nil, errors.New("password authentication failed")
}

func (locked) Ping(context.Context, cluster.Node) error { return nil }

// The error of a server names a user; that parameters of another matter than the guard's have it is told with it, once.
func TestTroubleNamesTheAccount(t *testing.T) {
	var log bytes.Buffer
	c := logging.Default()
	c.Writer, c.LinePrefix = &log, ""
	out, err := logging.New(c)
	if err != nil {
		t.Fatal(err)
	}
	g := New(Parts{Servers: locked{}, Log: out.Logger()})
	v := &cluster.View{Mode: cluster.ModeStreaming, Primary: 0, Nodes: []cluster.Node{{Host: "h", Port: 1, Status: cluster.StatusUp}}}
	for range 2 {
		g.look(t.Context(), v, Settings{Every: time.Second, Count: 1})
	}
	for _, text := range []string{"cannot be asked about its standbys: password", "recovery_user"} {
		if n := strings.Count(log.String(), text); n != 1 {
			t.Errorf("%q %d times in:\n%s", text, n, log.String())
		}
	}
}
