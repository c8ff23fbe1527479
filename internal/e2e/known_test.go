package e2e

import (
	"net"
	"testing"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/pgcluster"
)

// A login that needs no server because another one like it has had one is still only for who could have opened a connection: who
// has shown no password is not let in by the password of another.
func TestKnownLoginsAreNotLent(t *testing.T) {
	t.Parallel()
	createGroups(t)
	onServer(t, 0, "CREATE ROLE known_login SUPERUSER LOGIN PASSWORD "+quoted(password)+" IN ROLE ask_scram")
	replayed(t)
	for _, mode := range []string{"session", "transaction", "statement"} {
		p := startWith(t, pgcluster.PgpoolOptions{
			Conf: map[string]string{"enable_pool_hba": "on", "pool_mode": mode},
			HBA:  "host all all 127.0.0.2/32 trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 password\n",
		})
		shown := connect(t, p, simple, "user=known_login", "password="+password)
		value(t, shown, "SELECT current_user::text")
		silent, err := pgx.ParseConfig(p.ConnString(simple, "user=known_login"))
		if err != nil {
			t.Fatal(err)
		}
		silent.DialFunc = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext
		if conn, err := pgx.ConnectConfig(t.Context(), silent); err == nil {
			t.Errorf("%s: who has shown nothing is in, while the servers want a password", mode)
			conn.Close(t.Context())
		} else if sqlState(err) != "28000" {
			t.Errorf("%s: refused for another reason: %v", mode, err)
		}
		again := connect(t, p, simple, "user=known_login", "password="+password)
		value(t, again, "SELECT current_user::text")
	}
}
