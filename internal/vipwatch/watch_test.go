package vipwatch

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"gopgpool/internal/fakepg"
	"gopgpool/internal/hosts"
	"gopgpool/internal/pgcluster"
)

func TestMain(m *testing.M) {
	hosts.RunHelper()
	os.Exit(m.Run())
}

const vip = "192.168.137.150"

// stage is three hosts with a server, a client, and a watch over them.
type stage struct {
	t     *testing.T
	world *hosts.World
	watch *Watch
}

func newStage(t *testing.T) *stage {
	opts := hosts.Options{}
	for i, name := range []string{"a", "b", "c", "client"} {
		address := netip.MustParsePrefix(fmt.Sprintf("192.168.137.%d/24", 101+i))
		opts.Hosts = append(opts.Hosts, hosts.Spec{Name: name, Devices: []hosts.Device{{Address: address}}})
	}
	s := &stage{t: t, world: hosts.StartTest(t, opts)}
	server := fakepg.Start(t, fakepg.World{})
	watched := s.world.Hosts()[:3]
	for _, h := range watched {
		relay(t, h, server.Port())
	}
	w, err := Start(Options{
		VIP: netip.MustParseAddr(vip), Hosts: watched, Client: s.world.Host("client"), Device: "eth0", Port: 9999, User: "postgres",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.watch = w
	t.Cleanup(func() { _, _ = w.Stop() }) // the test has its result
	return s
}

// relay lets a host answer on port 9999 as the server does.
func relay(t *testing.T, h *hosts.Host, port int) {
	var l net.Listener
	err := h.Within(func() (err error) {
		l, err = net.Listen("tcp4", ":9999")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { pass(conn, port) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
}

// pass copies both ways until one side has ended.
func pass(conn net.Conn, port int) {
	defer conn.Close()
	// A client that reached the host by the address cannot say goodbye when that has gone.
	if err := conn.SetDeadline(time.Now().Add(2 * tryLimit)); err != nil {
		return
	}
	server, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return
	}
	defer server.Close()
	var back sync.WaitGroup
	back.Go(func() {
		defer conn.Close()
		_, _ = io.Copy(conn, server) // either end of it ends the other
	})
	_, _ = io.Copy(server, conn)
	server.Close()
	back.Wait()
}

func (s *stage) ip(host, command string) {
	s.t.Helper()
	if _, err := s.world.Host(host).Run(s.t.Context(), "root", "ip addr "+command); err != nil {
		s.t.Fatal(err)
	}
}

// raise has a host take the address and say so.
func (s *stage) raise(host string) {
	s.t.Helper()
	s.ip(host, "add "+vip+"/24 dev eth0")
	if err := Announce(s.world.Host(host), "eth0", netip.MustParseAddr(vip)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) lower(host string) { s.ip(host, "del "+vip+"/24 dev eth0") }

// until waits for something in the record.
func (s *stage) until(what string, ok func(Record) bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	if err := pgcluster.Poll(ctx, what, func() (bool, error) { return ok(s.watch.Peek()), nil }); err != nil {
		s.t.Fatalf("%v: %+v", err, s.watch.Peek())
	}
}

// served waits for a SELECT and a ping that began later than now and succeeded, and for an answer of the host's.
func (s *stage) served(host string) {
	s.t.Helper()
	now := s.watch.Now()
	later := func(all []Attempt) bool {
		for _, a := range all {
			if a.Began > now && a.Err == "" {
				return true
			}
		}
		return false
	}
	s.until(host+" serves", func(r Record) bool {
		answered := false
		for _, a := range r.Answers {
			answered = answered || a.At > now && a.Host == host
		}
		return later(r.Selects) && later(r.Pings) && answered
	})
}

func (s *stage) stop() Record {
	s.t.Helper()
	r, err := s.watch.Stop()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("%d selects, %d pings, %d answers, %s at most between two looks; %s", len(r.Selects), len(r.Pings), len(r.Answers), r.Coarsest,
		r.Holders())
	return r
}

func TestCleanMove(t *testing.T) {
	s := newStage(t)
	s.raise("a")
	s.served("a")
	fault := s.watch.Now()
	s.lower("a")
	s.until("it is seen that the address has gone", func(r Record) bool { return len(r.Held) > 0 && r.Held[0].Over })
	s.raise("b")
	s.served("b")
	most := s.watch.Now() - fault
	r := s.stop()
	if overlaps, disputes := r.Overlaps(), r.Disputes(); len(overlaps) > 0 || len(disputes) > 0 {
		t.Errorf("a clean move: %v, %v", overlaps, disputes)
	}
	took, host, ok := r.Takeover(fault)
	outage, _ := Outage(r.Selects, fault, r.Lasted)
	if !ok || host != "b" || took <= 0 || took > most || outage < took/2 {
		t.Errorf("takeover in %s by %s, %v; outage %s", took, host, ok, outage)
	}
	announced := false
	for _, a := range r.Answers {
		announced = announced || a.Announcement && a.Host == "b" && a.At > fault
	}
	if !announced {
		t.Error("the announcement was not heard")
	}
}

func TestForcedOverlap(t *testing.T) {
	s := newStage(t)
	s.raise("a")
	s.served("a")
	s.raise("b") // and a has it still
	s.until("both answer", func(r Record) bool { return len(r.Disputes()) > 0 && len(r.Overlaps()) > 0 })
	s.lower("a")
	s.served("b")
	r := s.stop()
	o := r.Overlaps()
	if len(o) != 1 || o[0].To <= o[0].From || len(r.Disputes()) == 0 {
		t.Errorf("%v, %v", o, r.Disputes())
	}
}

// A look at every change finds what lasts shorter than the time between two looks, which is endless here.
func TestLookAtEveryChange(t *testing.T) {
	spec := hosts.Spec{Name: "a", Devices: []hosts.Device{{Address: netip.MustParsePrefix("192.168.137.101/24")}}}
	s := &stage{t: t, world: hosts.StartTest(t, hosts.Options{Hosts: []hosts.Spec{spec}})}
	s.watch = &Watch{opts: Options{VIP: netip.MustParseAddr(vip)}, began: time.Now()}
	l, err := s.watch.newLooker(s.world.Host("a"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.run(ctx, time.Hour) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for n := range 3 {
		s.ip("a", "add "+vip+"/24 dev eth0")
		s.until("the address is there", func(r Record) bool { return len(r.Held) == n+1 && !r.Held[n].Over })
		s.lower("a")
		s.until("the address has gone", func(r Record) bool { return len(r.Held) == n+1 && r.Held[n].Over })
	}
}

// The kernel takes an address back whose lifetime ends; nobody has to do anything for it to be seen.
func TestExpiry(t *testing.T) {
	s := newStage(t)
	s.ip("a", "add "+vip+"/24 dev eth0 valid_lft 1 preferred_lft 1")
	s.until("the address has gone", func(r Record) bool { return len(r.Held) == 1 && r.Held[0].Over })
	r := s.stop()
	lasted := r.Held[0].Last - r.Held[0].First
	if lasted > 2*time.Second || lasted+2*r.Coarsest < 500*ms { // at both ends it was there for the time between two looks
		t.Errorf("an address for 1 s was there for %s", lasted)
	}
}
