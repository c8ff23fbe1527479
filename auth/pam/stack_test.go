package pam

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopgpool/auth/outside"
)

// outcome is the failure with what the log has to say about it; the zero value if the user is in.
type outcome struct {
	failure outside.Failure
	text    string
}

func judge(t *testing.T, name string, err error, want outcome) {
	t.Helper()
	failure, e := outside.Failure(0), (*outside.Error)(nil)
	if errors.As(err, &e) {
		failure = e.Failure
	}
	switch {
	case want.failure == 0 && err != nil, failure != want.failure:
		t.Errorf("%s: %s %v, want %s", name, failure, err, want.failure)
	case want.failure != 0 && !strings.Contains(err.Error(), want.text):
		t.Errorf("%s: %v, want %q in it", name, err, want.text)
	case err != nil && (strings.Contains(err.Error(), password) || strings.ContainsAny(err.Error(), "\r\n")):
		t.Errorf("%s: %q", name, err)
	}
}

const password = "right & secret"

func TestServiceHasToExist(t *testing.T) {
	t.Parallel()
	s := New(1)
	s.dirs = []string{t.TempDir(), t.TempDir()}
	for name, text := range map[string]string{"one": "auth required pam_deny.so\n", "empty": ""} {
		if err := os.WriteFile(filepath.Join(s.dirs[1], name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for service, want := range map[string]bool{"one": true, "ONE": true, "two": false, "empty": false, "": false, "../one": false, ".": false} {
		if got := s.describes(service); got != want {
			t.Errorf("%q: %v", service, got)
		}
	}
}

func TestHostName(t *testing.T) {
	t.Parallel()
	s := New(1)
	s.lookupAddr = func(_ context.Context, address string) ([]string, error) {
		switch address {
		case "192.0.2.1", "2001:db8::1":
			return []string{"good.example.", "other.example."}, nil
		case "192.0.2.2":
			return []string{"good.example."}, nil
		case "192.0.2.3":
			return []string{"gone.example."}, nil
		}
		return nil, errors.New("no name")
	}
	s.lookupHost = func(_ context.Context, name string) ([]string, error) {
		if name == "good.example" {
			return []string{"192.0.2.1", "2001:db8:0::1"}, nil
		}
		return nil, errors.New("no address")
	}
	for address, want := range map[string]string{
		"192.0.2.1": "good.example", "2001:db8::1": "good.example", "192.0.2.2": "192.0.2.2", "192.0.2.3": "192.0.2.3", "192.0.2.4": "192.0.2.4",
	} {
		if got := s.hostName(t.Context(), address); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

func TestRefusalTellsClientsNothing(t *testing.T) {
	t.Parallel()
	var hints []string
	for _, err := range []error{
		outside.New(outside.Refused, "wrong", nil), outside.New(outside.Unavailable, "no answer", errors.New("late")), outside.New(outside.Unusable, "no service", nil), errors.New("other"),
	} {
		e := Refusal("u", err)
		if e.SQLSTATE != "28P01" || e.ClientMessage != `PAM authentication failed for user "u"` || e.Detail != "" || e.Hint != "" {
			t.Errorf("%v: %+v", err, *e)
		}
		if e.Error() != "failed authentication against PAM: "+err.Error() {
			t.Errorf("%v: the log is told %q", err, e.Error())
		}
		hints = append(hints, e.LogHint)
	}
	if hints[0] != "" || hints[1] == "" || hints[2] == "" || hints[1] == hints[2] {
		t.Errorf("%q", hints)
	}
}
