package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"gopgpool/conf"
)

func TestWays(t *testing.T) {
	cfg := &tls.Config{}
	for mode, want := range map[conf.SSLMode]string{
		conf.SSLModeDisable: "plain", conf.SSLModeAllow: "plain,tls", conf.SSLModePrefer: "tls?,plain", conf.SSLModeRequire: "tls",
		conf.SSLModeVerifyCA: "tls", conf.SSLModeVerifyFull: "tls", conf.SSLModeAuto: "tls",
	} {
		got := ""
		ways := Server{Mode: mode, Config: cfg}.Ways()
		for i, w := range ways {
			if i > 0 {
				got += ","
			}
			if w.config == nil {
				got += "plain"
			} else {
				got += "tls"
			}
			if w.optional {
				got += "?"
			}
			if last := i == len(ways)-1; w.Retry("28000", nil) == last || w.Retry("", fmt.Errorf("x: %w", ErrHandshake)) == last {
				t.Errorf("%v: way %d is tried again", mode, i)
			}
			if w.Retry("28P01", nil) || w.Retry("", io.EOF) {
				t.Errorf("%v: another way for a wrong password, or a server that went", mode)
			}
		}
		if got != want {
			t.Errorf("%v: %s, not %s", mode, got, want)
		}
	}
}

// What a server may say to SSLRequest.
func TestUpgradeAnswers(t *testing.T) {
	over := Way{config: &tls.Config{InsecureSkipVerify: true}}
	try := over
	try.optional = true
	for _, c := range []struct {
		name   string
		way    Way
		answer string
		want   error // nil: any
		plain  bool
		differ bool // Disagreed
	}{
		{"no TLS", over, "N", ErrNoTLS, false, true},
		{"no TLS, optional", try, "N", nil, true, false},
		{"an error", try, "E", nil, false, false},
		{"silence and the end", over, "", io.EOF, false, false},
		{"no handshake", over, "Sno handshake", ErrHandshake, false, true},
		{"an alert", over, "S\x15\x03\x03\x00\x02\x02\x46", ErrHandshake, false, true},
		{"end in the handshake", over, "S", ErrHandshake, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			near, far := pair(t)
			go func() {
				_, _ = io.ReadFull(far, make([]byte, 8))
				_, _ = far.Write([]byte(c.answer))
				_ = far.(*net.UnixConn).CloseWrite()
				_, _ = io.Copy(io.Discard, far)
				_ = far.Close()
			}()
			got, err := c.way.Upgrade(context.Background(), near)
			if c.plain != (err == nil) || c.plain && got != near || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%v, error %v", got, err)
			}
			if Disagreed(err) != c.differ {
				t.Errorf("a disagreement about TLS: %v", err)
			}
			_ = near.Close()
		})
	}
}

func TestUpgradeEndsWithContext(t *testing.T) {
	near, far := pair(t)
	defer func() { _, _ = near.Close(), far.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.ReadFull(far, make([]byte, 8))
		cancel()
	}()
	if _, err := (Way{config: &tls.Config{}}).Upgrade(ctx, near); err == nil {
		t.Error("a silent server was waited for without end, and yet upgraded")
	}
}
