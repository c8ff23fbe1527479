package query

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/conf"
	"gopgpool/tlsconf"
)

func TestWays(t *testing.T) {
	t.Parallel()
	describeWays := func(list []way) string {
		var b strings.Builder
		for _, w := range list {
			switch {
			case w.config == nil:
				b.WriteString(" plain")
			case w.optional:
				b.WriteString(" TLS-or-plain")
			default:
				b.WriteString(" TLS")
			}
			if w.last {
				b.WriteString(".")
			}
		}
		return b.String()
	}
	for mode, want := range map[conf.SSLMode]string{
		conf.SSLModeDisable: " plain.", conf.SSLModeAllow: " plain TLS.", conf.SSLModePrefer: " TLS-or-plain plain.",
		conf.SSLModeRequire: " TLS.", conf.SSLModeVerifyCA: " TLS.", conf.SSLModeVerifyFull: " TLS.",
	} {
		if got := describeWays(ways(tlsconf.Server{Mode: mode, Config: &tls.Config{MinVersion: tls.VersionTLS12}})); got != want {
			t.Errorf("%v:%s, want%s", mode, got, want)
		}
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	refused := &pgconn.PgError{Code: "28000"}
	wrong := &pgconn.PgError{Code: "28P01"}
	first, last := way{}, way{last: true}
	if !first.retry(refused) || !first.retry(errHandshake) || first.retry(wrong) || first.retry(errors.New("connection refused")) {
		t.Error("the other way is for a refusal by pg_hba.conf and for a failed handshake")
	}
	if last.retry(refused) {
		t.Error("after the last way")
	}
}
