package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// loginPassword is everybody's.
const loginPassword = "a benchmark's password"

// loginClient logs in by SCRAM-SHA-256 as libpq does, but for what it keeps: the keys of the last salt it was shown, so that the
// clients leave the processors to the proxy where the proxy's salts allow it.
type loginClient struct {
	port   int
	tls    *tls.Config // nil: no TLS
	derive bool        // keys are made anew for every login, as libpq does

	kept    atomic.Pointer[scramKeys]
	derived atomic.Int64 // how often keys were made
}

// scramKeys are what SCRAM makes of the password for one salt and count.
type scramKeys struct {
	salt                   string
	iterations             int
	client, stored, server []byte
}

// once is the whole life of a client: it connects, logs in, runs one statement and leaves.
func (l *loginClient) once() error {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(loopback, strconv.Itoa(l.port)), 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if l.tls != nil {
		if conn, err = startTLS(conn, l.tls); err != nil {
			return err
		}
	}
	in := bufio.NewReaderSize(conn, 2048)
	if err := l.login(conn, in); err != nil {
		return err
	}
	if _, err = conn.Write(queryPacket("SELECT 1")); err != nil {
		return err
	}
	if err := untilReady(in); err != nil {
		return err
	}
	_, err = conn.Write([]byte{'X', 0, 0, 0, 4})
	return err
}

// startTLS asks for TLS as PostgreSQL's clients do.
func startTLS(conn net.Conn, config *tls.Config) (net.Conn, error) {
	request := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, 80877103)
	if _, err := conn.Write(request); err != nil {
		return conn, err
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return conn, err
	}
	if answer[0] != 'S' {
		return conn, fmt.Errorf("no TLS: %q", answer[0])
	}
	secured := tls.Client(conn, config)
	return secured, secured.Handshake()
}

// The codes of the messages a login by SCRAM consists of.
const (
	askSASL      = 10
	continueSASL = 11
	finalSASL    = 12
)

func (l *loginClient) login(conn io.Writer, in *bufio.Reader) error {
	if _, err := conn.Write(startupPacket()); err != nil {
		return err
	}
	if _, err := readAuth(in, askSASL); err != nil {
		return err
	}
	random := make([]byte, 18)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	bare := "n=,r=" + base64.StdEncoding.EncodeToString(random)
	first := binary.BigEndian.AppendUint32([]byte("SCRAM-SHA-256\x00"), uint32(len("n,,"+bare)))
	if _, err := conn.Write(passwordPacket(append(first, "n,,"+bare...))); err != nil {
		return err
	}
	challenge, err := readAuth(in, continueSASL)
	if err != nil {
		return err
	}
	final, signature, err := l.final(bare, string(challenge))
	if err != nil {
		return err
	}
	if _, err := conn.Write(passwordPacket([]byte(final))); err != nil {
		return err
	}
	answer, err := readAuth(in, finalSASL)
	if err != nil {
		return err
	}
	if want := "v=" + base64.StdEncoding.EncodeToString(signature); want != string(answer) {
		return errors.New("the proxy does not know the password")
	}
	return untilReady(in)
}

// final is the client's last message, and the signature that the other side has to answer.
func (l *loginClient) final(bare, challenge string) (message string, signature []byte, err error) {
	nonce, salt, iterations, err := parseChallenge(challenge)
	if err != nil {
		return "", nil, err
	}
	keys, err := l.keys(salt, iterations)
	if err != nil {
		return "", nil, err
	}
	message = "c=biws,r=" + nonce
	all := bare + "," + challenge + "," + message
	proof := keyed(keys.stored, all)
	subtle.XORBytes(proof, proof, keys.client)
	return message + ",p=" + base64.StdEncoding.EncodeToString(proof), keyed(keys.server, all), nil
}

// parseChallenge reads r=nonce,s=salt,i=iterations.
func parseChallenge(challenge string) (nonce, salt string, iterations int, err error) {
	for i, field := range strings.SplitN(challenge, ",", 3) {
		name, value, _ := strings.Cut(field, "=")
		if name != "rsi"[i:i+1] {
			return "", "", 0, fmt.Errorf("SCRAM message %q", challenge)
		}
		switch name {
		case "r":
			nonce = value
		case "s":
			var bytes []byte
			bytes, err = base64.StdEncoding.DecodeString(value)
			salt = string(bytes)
		case "i":
			iterations, err = strconv.Atoi(value)
		}
		if err != nil {
			return "", "", 0, fmt.Errorf("SCRAM message %q: %w", challenge, err)
		}
	}
	if iterations < 1 {
		return "", "", 0, fmt.Errorf("SCRAM message %q", challenge)
	}
	return nonce, salt, iterations, nil
}

// keys gives the kept keys if they are of this salt. A proxy that shows a new salt to everybody makes its clients work.
func (l *loginClient) keys(salt string, iterations int) (*scramKeys, error) {
	k := l.kept.Load()
	if !l.derive && k != nil && k.salt == salt && k.iterations == iterations {
		return k, nil
	}
	l.derived.Add(1)
	salted, err := pbkdf2.Key(sha256.New, loginPassword, []byte(salt), iterations, sha256.Size)
	if err != nil {
		return nil, err
	}
	k = &scramKeys{salt: salt, iterations: iterations, client: keyed(salted, "Client Key"), server: keyed(salted, "Server Key")}
	stored := sha256.Sum256(k.client)
	k.stored = stored[:]
	l.kept.Store(k)
	return k, nil
}

func keyed(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func passwordPacket(body []byte) []byte {
	p := binary.BigEndian.AppendUint32([]byte{'p'}, uint32(len(body)+4))
	return append(p, body...)
}

// readAuth reads one authentication message, which must have this code; what stands behind the code is returned.
func readAuth(in *bufio.Reader, code uint32) ([]byte, error) {
	var header [5]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(header[1:])) - 4
	if size < 4 || size > 4096 {
		return nil, fmt.Errorf("message %q has a length of %d", header[0], size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(in, body); err != nil {
		return nil, err
	}
	if header[0] != 'R' || binary.BigEndian.Uint32(body) != code {
		return nil, fmt.Errorf("instead of authentication message %d: %q %q", code, header[0], bytes.TrimRight(body, "\x00"))
	}
	return body[4:], nil
}
