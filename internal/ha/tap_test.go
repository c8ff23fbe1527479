package main

import (
	"encoding/binary"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
)

func frame(kind byte, body string) []byte {
	b := append([]byte{kind}, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b[1:], uint32(len(body)+4))
	return append(b, body...)
}

const farewellBody = "SFATAL\x00VFATAL\x00C57P01\x00Mgoing down\x00\x00"

// However the bytes arrive, the reason is found and a body that looks like an error is none.
func TestTapFindsTheReason(t *testing.T) {
	t.Parallel()
	stream := append(frame('D', string(frame('E', "SFATAL\x00C00000\x00\x00"))), frame('Z', "I")...)
	stream = append(stream, frame('E', "SERROR\x00VERROR\x00C42601\x00Mno\x00\x00")...)
	for size := 1; size <= 7; size++ {
		quiet, tapped := &tap{}, &tap{}
		for i := 0; i < len(stream); i += size {
			quiet.follow(stream[i:min(i+size, len(stream))])
		}
		if got := quiet.lastReason(); got != nil {
			t.Errorf("pieces of %d: %v", size, got)
		}
		all := append(append([]byte{}, stream...), frame('E', farewellBody)...)
		for i := 0; i < len(all); i += size {
			tapped.follow(all[i:min(i+size, len(all))])
		}
		if got := tapped.lastReason(); got == nil || got.Code != "57P01" || got.Message != "going down" {
			t.Errorf("pieces of %d: %v", size, got)
		}
	}
}

func TestTapSurvivesNonsense(t *testing.T) {
	t.Parallel()
	for _, b := range [][]byte{{'E', 0, 0, 0, 0, 'x'}, {'E', 255, 255, 255, 255, 'S'}, frame('E', ""), frame('E', "S"), frame('E', "Sx")} {
		one := &tap{}
		one.follow(b)
		if got := one.lastReason(); got != nil && got.Code != "" {
			t.Errorf("%q has a reason: %v", b, got)
		}
	}
}

func TestRestSeesTheEnd(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var reader sync.WaitGroup
	defer reader.Wait()
	conn, err := dialTap(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	one, ok := conn.(*tap)
	if !ok || one.rest() {
		t.Fatal("an open connection is over")
	}
	reader.Go(func() { _, _ = one.Read(make([]byte, 1)) }) // until the end
	for range 1000 {                                       // in which it comes to reading
		runtime.Gosched()
		if one.rest() {
			t.Fatal("a connection that is read is over")
		}
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := pgcluster.Poll(t.Context(), "the end is seen", func() (bool, error) { return one.rest(), nil }); err != nil {
		t.Error(err)
	}
}

func TestFaultOf(t *testing.T) {
	t.Parallel()
	last := &pgconn.PgError{Code: "57P01", Severity: "FATAL", Message: "going down"}
	if f := faultOf(net.ErrClosed, atWork, true, last); f.bare() || f.Code != "57P01" {
		t.Errorf("the reason read late is not taken: %v", f)
	}
	if f := faultOf(net.ErrClosed, atWork, true, nil); !f.bare() {
		t.Errorf("no reason is none: %v", f)
	}
	if f := faultOf(&pgconn.PgError{Code: "42601"}, atWork, false, last); f.Code != "42601" {
		t.Errorf("%v", f)
	}
}
