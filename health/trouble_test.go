package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/cluster"
)

// dialing is an error as the net package reports it.
func dialing(cause error) error {
	return fmt.Errorf("dial error: %w", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", cause)})
}

func says(code string) error { return fmt.Errorf("server error: %w", &pgconn.PgError{Code: code}) }

func TestTrouble(t *testing.T) {
	up := cluster.Node{Status: cluster.StatusUp}
	for _, tc := range []struct {
		name    string
		err     error
		unix    bool
		asked   bool
		trouble Trouble
		verdict Verdict
		hint    string
	}{
		{"nothing listens", dialing(syscall.ECONNREFUSED), false, false, Refused, Condemned, ""},
		{"no socket file", dialing(syscall.ENOENT), true, false, Refused, Condemned, ""},
		{"reset", dialing(syscall.ECONNRESET), false, true, Broken, Condemned, ""},
		{"end of file in the login", fmt.Errorf("failed to receive message: %w", io.ErrUnexpectedEOF), false, true, Broken, Condemned, ""},
		{"no route", dialing(syscall.EHOSTUNREACH), false, false, Unreachable, Condemned, ""},
		{"no network", dialing(syscall.ENETUNREACH), false, false, Unreachable, Condemned, ""},
		{"kernel's time-out", dialing(syscall.ETIMEDOUT), false, false, Silent, Condemned, ""},
		{"ours", dialing(os.ErrDeadlineExceeded), false, true, Silent, Condemned, ""},
		{"the context's", context.DeadlineExceeded, false, false, Silent, Condemned, ""},
		{"garbage", errors.New("unknown message type"), false, false, Broken, Condemned, ""},
		{"a proof we cannot give", errors.New("no GSSAPI provider"), false, true, Rejected, Spared, "health_check_password"},

		{"wrong password", says("28P01"), false, true, Rejected, Spared, "health_check_user and health_check_password"},
		{"no line in pg_hba.conf", says("28000"), false, true, Rejected, Spared, "pg_hba.conf"},
		{"no such database", says("3D000"), false, true, Rejected, Spared, "health_check_database"},
		{"no CONNECT privilege", says("42501"), false, true, Rejected, Spared, "health_check_database"},
		{"database takes no connections", says("55000"), false, true, Rejected, Spared, "health_check_database"},
		{"too many connections", says("53300"), false, true, Rejected, Spared, "max_connections"},
		{"disk full", says("53100"), false, true, Rejected, Spared, "max_connections"},
		{"unknown parameter", says("42704"), false, true, Rejected, Spared, "health_check_user"},
		{"starting up or shutting down", says("57P03"), false, false, Broken, Condemned, ""},
		{"shut down in the login", says("57P01"), false, true, Broken, Condemned, ""},
		{"crashed in the login", says("57P02"), false, true, Broken, Condemned, ""},
		{"data directory is gone", says("58P01"), false, true, Broken, Condemned, ""},
		{"disk cannot be read", says("58030"), false, true, Broken, Condemned, ""},
		{"damaged", says("XX001"), false, true, Broken, Condemned, ""},

		{"no descriptor left", dialing(syscall.EMFILE), false, false, NotAsked, Spared, "No question"},
		{"none in the system", dialing(syscall.ENFILE), false, false, NotAsked, Spared, "No question"},
		{"no port left", dialing(syscall.EADDRNOTAVAIL), false, false, NotAsked, Spared, "No question"},
		{"a firewall of ours", dialing(syscall.EPERM), false, false, NotAsked, Spared, "No question"},
		{"nobody waits", context.Canceled, false, false, NotAsked, Spared, "No question"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := sortTrouble(tc.err, tc.unix, tc.asked)
			if got != tc.trouble {
				t.Fatalf("trouble %d, want %d", got, tc.trouble)
			}
			e := &Error{Trouble: got, Err: tc.err}
			if v := judge(up, fmt.Errorf("wrapped: %w", e)); v != tc.verdict {
				t.Errorf("verdict %d, want %d", v, tc.verdict)
			}
			if h := hint(e); (tc.hint == "") != (h == "") || !strings.Contains(h, tc.hint) {
				t.Errorf("hint %q", h)
			}
		})
	}
}

func TestJudgeSpares(t *testing.T) {
	e := &Error{Trouble: Refused, Err: errors.New("refused")}
	for _, n := range []cluster.Node{
		{Status: cluster.StatusUp, DisallowFailover: true},
		{Status: cluster.StatusQuarantine},
	} {
		if judge(n, e) != Spared || judge(n, nil) != Well {
			t.Errorf("node %+v", n)
		}
	}
}

func TestSum(t *testing.T) {
	for _, tc := range []struct {
		each []Trouble
		want Trouble
	}{
		{[]Trouble{Refused}, Refused},
		{[]Trouble{Refused, Refused}, Refused},
		{[]Trouble{NotAsked, NotAsked}, NotAsked},
		// One address refuses, the other was not tried: nobody can say that nothing listens.
		{[]Trouble{NotAsked, Refused}, Broken},
		{[]Trouble{Refused, NotAsked, Refused}, Broken},
		{[]Trouble{Refused, Broken}, Broken},
		{[]Trouble{Silent, Refused}, Silent},
		{[]Trouble{Silent, Rejected, Refused}, Rejected},
		{[]Trouble{Unreachable, Silent}, Silent},
	} {
		if got := sum(tc.each); got != tc.want {
			t.Errorf("%v: %d, want %d", tc.each, got, tc.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	for _, tc := range []struct {
		err     error
		trouble Trouble
		want    string
	}{
		{says("57P03"), Broken, "192.0.2.1:5432: :  (SQLSTATE 57P03)"},
		{fmt.Errorf("failed to receive message: %w", context.DeadlineExceeded), Silent, "192.0.2.1:5432: no answer in time"},
		{dialing(syscall.ECONNREFUSED), Refused, "dial tcp: connect: connection refused"},
		{errors.New("odd"), Broken, "192.0.2.1:5432: odd"},
	} {
		if got := describe(tc.err, "192.0.2.1", 5432, tc.trouble).Error(); got != tc.want {
			t.Errorf("%s, want %s", got, tc.want)
		}
	}
}
