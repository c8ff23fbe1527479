package loop_test

import (
	"context"
	"fmt"
	"time"

	"gopgpool/loop"
)

// A session is straight-line code; the test's end of the pipe is an ordinary net.Conn. With loop.New instead of
// NewVirtual, Task.Adopt takes descriptors.
func Example() {
	l := loop.NewVirtual(0, nil)
	conn, peer := l.Pipe(1024)
	ctx, cancel := context.WithCancel(context.Background())
	l.GoFrom("session", func(t *loop.Task) {
		defer cancel()
		t.Take(conn) // closed at the task's end
		buf := make([]byte, 100)
		for {
			n, err := conn.Read(buf) // gives up the loop
			if err != nil {
				fmt.Println("session:", err)
				return
			}
			fmt.Fprintf(conn, "you said %q", buf[:n])
		}
	})
	go func() {
		_, _ = peer.Write([]byte("hello"))
		buf := make([]byte, 100)
		n, _ := peer.Read(buf)
		fmt.Println(string(buf[:n]))
		_ = peer.Close()
	}()
	_ = l.Run(ctx)
	// Output:
	// you said "hello"
	// session: EOF
}

// Waiting for whichever comes first: one of several connections, a wake-up, a deadline, the end.
func ExampleTask_Wait() {
	l := loop.NewVirtual(0, nil)
	client, _ := l.Pipe(1024)
	server, far := l.Pipe(1024)
	ctx, cancel := context.WithCancel(context.Background())
	l.GoFrom("session", func(t *loop.Task) {
		defer cancel()
		t.Take(client)
		t.Take(server)
		_, _ = far.Write([]byte("news"))
		switch t.Wait(t.Now().Add(time.Minute),
			loop.Interest{Conn: client, Read: true},
			loop.Interest{Conn: server, Read: true}) {
		case loop.Ready:
			fmt.Println("client:", client.Readable(), "server:", server.Readable())
		case loop.Woken, loop.Timeout, loop.Stopped:
			fmt.Println("not this time")
		}
	})
	_ = l.Run(ctx)
	// Output:
	// client: false server: true
}

// Whatever may block runs off the loop; its variables are the task's again once Offload returns.
func ExampleTask_Offload() {
	l := loop.NewVirtual(0, nil)
	ctx, cancel := context.WithCancel(context.Background())
	l.GoFrom("session", func(t *loop.Task) {
		defer cancel()
		var answer int
		t.Offload(func() { answer = 42 }) // a look-up, say
		fmt.Println(answer)
	})
	_ = l.Run(ctx)
	// Output:
	// 42
}
