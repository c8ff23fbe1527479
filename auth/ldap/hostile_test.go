package ldap

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"gopgpool/auth"
	"gopgpool/auth/outside"
)

// hostile is a server that answers every connection with the given bytes, again and again if endless.
func hostile(t *testing.T, answer []byte, endless bool) auth.LDAPOptions {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			serveHostile(c, answer, endless)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close() // ends the loop
		<-done
	})
	return auth.LDAPOptions{
		Servers: []string{"127.0.0.1"}, Port: listener.Addr().(*net.TCPAddr).Port, Prefix: "uid=", Suffix: ",dc=x",
	}
}

func serveHostile(c net.Conn, answer []byte, endless bool) {
	defer func() { _ = c.Close() }() // the client judges
	if _, err := c.Read(make([]byte, 4096)); err != nil {
		return
	}
	for {
		if _, err := c.Write(answer); err != nil {
			return
		}
		if !endless {
			_, _ = io.Copy(io.Discard, c) // until the client leaves
			return
		}
	}
}

// bindResponse is an answer to the first request.
func bindResponse(code int64, text string) []byte {
	packet := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	packet.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, 1, ""))
	response := ber.Encode(ber.ClassApplication, ber.TypeConstructed, 1, nil, "")
	response.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""))
	response.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
	response.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, text, ""))
	packet.AppendChild(response)
	return packet.Bytes()
}

func TestHostileServer(t *testing.T) {
	t.Parallel()
	nested := bytes.Repeat([]byte{0x30, 0x80}, 1<<15)
	for _, tc := range []struct {
		name    string
		answer  []byte
		endless bool
		want    outcome
	}{
		{"accepts", bindResponse(0, ""), false, outcome{}}, // shows that the rest is refused for its content
		{"refuses with a poem", bindResponse(49, strings.Repeat("no\r\n", 10000)), false, outcome{outside.Refused, "no  no"}},
		{"busy", bindResponse(51, ""), false, outcome{outside.Unavailable, "Busy"}},
		{"half way through SASL", bindResponse(14, ""), false, outcome{outside.Refused, "14"}},
		{"refers to others", bindResponse(10, ""), false, outcome{outside.Refused, "Referral"}},
		{"a code beyond 8 bytes", append(bindResponse(0, "")[:7], bytes.Repeat([]byte{0x7f}, 20)...), false, outcome{outside.Unavailable, ""}},
		{"4 GB announced", []byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 4}, false, outcome{outside.Unavailable, ""}},
		{"2 GB of text announced, endless", []byte{4, 0x84, 0x7f, 0xff, 0xff, 0xff}, true, outcome{outside.Unavailable, ""}},
		{"nested", nested, true, outcome{outside.Unavailable, ""}},
		{"small packets without end", []byte{0x30, 3, 2, 1, 9}, true, outcome{outside.Unavailable, ""}},
		{"noise", []byte("HTTP/1.1 200 OK\r\n\r\n"), true, outcome{outside.Unavailable, ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			bound := time.Minute
			if tc.want.failure == outside.Unavailable && tc.want.text == "" { // the end of time will do
				bound = 2 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			judge(t, tc.name, ask(ctx, hostile(t, tc.answer, tc.endless), "alice", password, nil), tc.want)
		})
	}
}

// A server, or somebody on the way to it, that will not have TLS does not get the password.
func TestNoPasswordWithoutTLS(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string][]byte{
		"refused": extendedResponse(2), "unavailable": extendedResponse(52), "a bind's answer": bindResponse(1, ""),
		"accepted, and then plain": append(extendedResponse(0), bindResponse(0, "")...), "noise": []byte("no TLS here"), "end": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			heard := make(chan []byte, 1)
			go func() { heard <- listen(listener, answer) }()
			o := auth.LDAPOptions{
				Servers: []string{"127.0.0.1"}, Port: listener.Addr().(*net.TCPAddr).Port, Prefix: "uid=", Suffix: ",dc=x", StartTLS: true,
			}
			env := map[string]string{"LDAPTLS_REQCERT": "never"}
			judge(t, name, ask(t.Context(), o, "alice", password, env), outcome{outside.Unavailable, "could not start LDAP TLS"})
			_ = listener.Close() // ends listen, if it is not over
			if got := <-heard; bytes.Contains(got, []byte(password)) || !bytes.Contains(got, []byte("1.3.6.1.4.1.1466.20037")) {
				t.Errorf("the server heard %q", got)
			}
		})
	}
}

// listen answers one request and returns all that was said to it.
func listen(listener net.Listener, answer []byte) []byte {
	c, err := listener.Accept()
	if err != nil {
		return nil
	}
	defer func() { _ = c.Close() }() // the client judges
	request := make([]byte, 4096)
	n, err := c.Read(request)
	if err != nil {
		return nil
	}
	if _, err = c.Write(answer); err == nil {
		_ = c.(*net.TCPConn).CloseWrite() // the client may have left already
	}
	rest, _ := io.ReadAll(c) // until the client leaves, in whatever way
	return append(request[:n], rest...)
}

func extendedResponse(code int64) []byte {
	packet := bindResponse(code, "")
	packet[5] = 0x78 // [APPLICATION 24] instead of 1
	return packet
}

func TestReadIsBounded(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	go serveEndless(theirs)
	n, err := io.Copy(io.Discard, &bounded{Conn: ours, left: 1000})
	if n != 1000 || err != errTooLong { //nolint:errorlint // io.Copy hands it on as it is
		t.Error(n, err)
	}
	_ = ours.Close() // ends serveEndless
}

func serveEndless(c net.Conn) {
	for {
		if _, err := c.Write(make([]byte, 64)); err != nil {
			return
		}
	}
}

// What a server sends ends the search or does not, but never the process.
func FuzzSearch(f *testing.F) {
	entry := []byte{0x30, 0x0c, 2, 1, 2, 0x64, 7, 4, 3, 'c', 'n', '=', 0x30, 0}
	done := []byte{0x30, 0x0c, 2, 1, 2, 0x65, 7, 10, 1, 0, 4, 0, 4, 0}
	f.Add(append(bindResponse(0, ""), append(entry, done...)...))
	f.Add(append(bindResponse(0, ""), 0x30, 5, 2, 1, 2, 0x64, 0))
	f.Add(bindResponse(49, "no"))
	f.Fuzz(func(_ *testing.T, answer []byte) {
		ours, theirs := net.Pipe()
		go serveOnce(theirs, answer)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c := &conn{forget: context.AfterFunc(ctx, func() { _ = ours.SetDeadline(time.Unix(1, 0)) })}
		l := login{options: auth.LDAPOptions{Search: true}, user: "alice", password: password}
		if err := c.start(ctx, &bounded{Conn: ours, left: maxAnswer}, &l, server{}); err != nil {
			panic("plain connections start without a word")
		}
		defer c.close()
		_, _ = l.searchOn(ctx, c, server{}) // either is well
	})
}

func serveOnce(c net.Conn, answer []byte) {
	go func() { _, _ = io.Copy(io.Discard, c) }() // until either side closes
	_, _ = c.Write(answer)
	_ = c.Close() // that was all
}
