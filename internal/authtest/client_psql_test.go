package authtest

import (
	"context"
	"strings"
	"testing"

	"gopgpool/internal/pgcluster"
)

// psql is one process for each login: a script whose \connect was refused ends. It tells no SQLSTATE of a refused login.
type psql struct{ cluster *pgcluster.Cluster }

func (psql) name() string { return "psql" }

// can: libpq takes an empty password for none, and before release 17 it has no direct TLS.
func (psql) can(a attempt) bool { return a.secret != "" && !strings.Contains(a.client, "direct") }

func (p psql) login(ctx context.Context, t *testing.T, a attempt) outcome {
	t.Helper()
	cmd := p.cluster.Command(ctx, "psql", "-X", "-q", "-w", "-A", "-t", "-d", a.words(), "-c", "SELECT current_user")
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return outcome{state: "error", text: text + " " + err.Error()}
	}
	return outcome{user: text}
}
