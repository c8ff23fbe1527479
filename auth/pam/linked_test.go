//go:build pam

package pam

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/msteinert/pam/v2"

	"gopgpool/auth"
	"gopgpool/auth/outside"
	"gopgpool/internal/authparts"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	p, s := authparts.NewPAM(t), New(Places)
	for _, user := range []string{"alice", "expired", "Ümit, the one"} {
		p.AddUser(t, user, password)
	}
	p.AddUser(t, "blank", "")
	p.Expire(t, "expired")
	ours := func(control string) string { return authparts.PAMService(t, strings.Split(control, "\n")...) }
	for _, tc := range []struct {
		name, service, user, password string
		want                          outcome
	}{
		{"right", p.Service, "alice", password, outcome{}},
		{"right, any name", p.Service, "Ümit, the one", password, outcome{}},
		{"wrong password", p.Service, "alice", "wrong", outcome{outside.Refused, "pam_authenticate failed: "}},
		{"no such user", p.Service, "mallory", password, outcome{outside.Refused, "pam_authenticate failed: "}},
		{"account refused", p.Service, "expired", password, outcome{outside.Refused, "system call pam_acct_mgmt failed: "}},
		{"account refused and wrong password", p.Service, "expired", "wrong", outcome{outside.Refused, "pam_authenticate failed: "}},
		{"empty password", p.Service, "blank", "", outcome{outside.Refused, "empty password"}},
		{"cut password", p.Service, "alice", password + "\x00x", outcome{outside.Refused, "invalid"}},
		{"cut name", p.Service, "alice\x00x", password, outcome{outside.Refused, "invalid"}},
		{"no name", p.Service, "", password, outcome{outside.Refused, "invalid"}},
		{"no such service", "gopgpool-test-none", "alice", password, outcome{outside.Unusable, "unable to create PAM authenticator: no service"}},
		{"denied", ours("auth required pam_deny.so\naccount required pam_permit.so"), "alice", password, outcome{outside.Refused, "pam_authenticate failed"}},
		{"account denied", ours("auth required pam_permit.so\naccount required pam_deny.so"), "alice", password, outcome{outside.Refused, "pam_acct_mgmt failed"}},
		{"permitted", ours("auth required pam_permit.so\naccount required pam_permit.so"), "alice", password, outcome{}},
		{"no such module", ours("auth required pam_gopgpool_none.so\naccount required pam_permit.so"), "alice", password, outcome{outside.Unusable, "pam_authenticate failed"}},
		{"a module's own account, none", ours("auth required pam_unix.so nullok nodelay\naccount required pam_permit.so"), "gopgpool-nobody", password, outcome{outside.Refused, "pam_authenticate failed"}},
		{"directory away", ours("auth required pam_debug.so auth=authinfo_unavail"), "alice", password, outcome{outside.Unavailable, "pam_authenticate failed"}},
		{"password has to be changed", ours("auth required pam_permit.so\naccount required pam_debug.so acct=new_authtok_reqd"), "alice", password, outcome{outside.Refused, "pam_acct_mgmt failed"}},
		{"a message", ours("auth required pam_echo.so Welcome\nauth required pam_permit.so\naccount required pam_permit.so"), "alice", password, outcome{}},
	} {
		err := s.Check(t.Context(), auth.PAMOptions{Service: tc.service}, tc.user, tc.password, "192.0.2.7")
		judge(t, tc.name, err, tc.want)
	}
	if !slices.Contains(p.Seen(t), "alice rhost=192.0.2.7") {
		t.Errorf("%q", p.Seen(t))
	}
	o := auth.PAMOptions{Service: p.Service}
	judge(t, "Unix socket", s.Check(t.Context(), o, "alice", password, ""), outcome{})
	if !slices.Contains(p.Seen(t), "alice rhost=") {
		t.Errorf("%q", p.Seen(t))
	}
	s.lookupAddr = func(context.Context, string) ([]string, error) { return []string{"client.example."}, nil }
	s.lookupHost = func(context.Context, string) ([]string, error) { return []string{"192.0.2.7"}, nil }
	o.UseHostname = true
	judge(t, "host name", s.Check(t.Context(), o, "alice", password, "192.0.2.7"), outcome{})
	if !slices.Contains(p.Seen(t), "alice rhost=client.example") {
		t.Errorf("%q", p.Seen(t))
	}
	if err := s.drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// A module that hangs costs a place until it ends, and nothing else.
func TestModuleHangs(t *testing.T) {
	t.Parallel()
	p, s := authparts.NewPAM(t), New(2)
	p.AddUser(t, "alice", password)
	p.AddUser(t, "slow", password)
	release := p.Hang(t, "slow")
	o := auth.PAMOptions{Service: p.Service}
	first := make(chan error, 1)
	go func() { first <- s.Check(t.Context(), o, "slow", password, "") }()
	for tick := time.Tick(5 * time.Millisecond); len(s.places) == 0; {
		<-tick // it takes its place
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	judge(t, "second", s.Check(ctx, o, "slow", password, ""), outcome{outside.Unavailable, "PAM has not answered in time: context deadline exceeded"})
	late, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	judge(t, "third", s.Check(late, o, "alice", password, ""), outcome{outside.Unavailable, "all 2 places"})
	release()
	judge(t, "first, at last", <-first, outcome{})
	judge(t, "after", s.Check(t.Context(), o, "alice", password, ""), outcome{})
	if err := s.drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPlacesAreBounded(t *testing.T) {
	t.Parallel()
	s := New(1)
	s.dirs = []string{t.TempDir()}
	if err := os.WriteFile(filepath.Join(s.dirs[0], "none"), []byte("auth required pam_deny.so\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.places <- struct{}{}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the client has left"))
	judge(t, "no place", s.Check(ctx, auth.PAMOptions{Service: "none"}, "u", password, ""), outcome{outside.Unavailable, "all 1 places"})
	if err := s.drain(ctx); err == nil {
		t.Error("drained while a module is at work")
	}
	<-s.places
	if err := s.drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMany(t *testing.T) {
	t.Parallel()
	p, s := authparts.NewPAM(t), New(4)
	p.AddUser(t, "alice", password)
	type result struct {
		given string
		err   error
	}
	results := make(chan result)
	for i := range 16 {
		given := []string{password, "wrong"}[i%2]
		go func() {
			results <- result{given, s.Check(t.Context(), auth.PAMOptions{Service: p.Service}, "alice", given, "")}
		}()
	}
	for range 16 {
		r := <-results
		want := outcome{}
		if r.given != password {
			want = outcome{outside.Refused, "pam_authenticate failed"}
		}
		judge(t, r.given, r.err, want)
	}
}

func TestConversation(t *testing.T) {
	t.Parallel()
	c := &conversation{password: password}
	for range maxPrompts {
		if got, err := c.RespondPAM(pam.PromptEchoOff, "Password: "); got != password || err != nil {
			t.Error(got, err)
		}
	}
	if got, err := c.RespondPAM(pam.PromptEchoOff, "Password: "); got != "" || !errors.Is(err, errPrompts) {
		t.Error(got, err)
	}
	for _, style := range []pam.Style{pam.PromptEchoOn, pam.BinaryPrompt, 99} {
		if got, err := c.RespondPAM(style, "login: "); got != "" || !errors.Is(err, errPrompt) {
			t.Error(got, err)
		}
	}
}

// drain returns when no module is at work any more, or with ctx. No Check may be called meanwhile or afterwards.
func (s *Stack) drain(ctx context.Context) error {
	for range cap(s.places) {
		select {
		case s.places <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
