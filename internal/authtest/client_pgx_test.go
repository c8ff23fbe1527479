package authtest

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func itoa(n int) string { return strconv.Itoa(n) }

func contextWithin(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), patience)
}

// inProcess is pgx.
type inProcess struct{}

func (inProcess) name() string { return "pgx" }

func (inProcess) can(attempt) bool { return true }

func (inProcess) login(ctx context.Context, t *testing.T, a attempt) outcome {
	t.Helper()
	config, err := pgx.ParseConfig(a.words())
	if err != nil {
		return outcome{state: "client", text: err.Error()}
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	if config.TLSConfig != nil && len(config.TLSConfig.Certificates) > 0 {
		mine := config.TLSConfig.Certificates[0]
		// Left to itself, crypto/tls shows no certificate of an authority that the server did not name.
		config.TLSConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &mine, nil }
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return refusal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var me string
	if err := conn.QueryRow(ctx, "SELECT current_user::text").Scan(&me); err != nil {
		return refusal(err)
	}
	return outcome{user: me}
}

func refusal(err error) outcome {
	o := outcome{state: "error", text: err.Error()}
	var pgErr *pgconn.PgError
	var netErr *net.OpError
	switch {
	case errors.As(err, &pgErr):
		o.state, o.text = pgErr.Code, pgErr.Message
	case errors.As(err, &netErr) && netErr.Op == "remote error":
		o.state = "tls"
	case strings.Contains(o.text, "channel binding") || strings.Contains(o.text, "server refused TLS connection"):
		o.state = "client"
	}
	return o
}

// within is a context of the test that ends after patience.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := contextWithin(t)
	t.Cleanup(cancel)
	return ctx
}
