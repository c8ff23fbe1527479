package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/user"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/auth"
	"gopgpool/logging"
)

// This file gathers what is known about a client before it is asked for its proof. Deciding is auth's.

// Users knows what the servers say about their users. Both may block; they are called off the loops.
type Users interface {
	// Entry is what auth_query says about a user; the zero Entry, with the reason, if it may not log in.
	Entry(ctx context.Context, database, user string) (auth.Entry, error)
	// Roles are the roles a user is a member of, itself included; none for a user the servers do not know.
	Roles(ctx context.Context, user string) ([]string, error)
	// Forget closes connections to a database that is about to be dropped or renamed.
	Forget(database string)
}

// authFacts gathers what is known of the client before it is asked anything.
func (s *session) authFacts() (auth.Facts, error) {
	f := auth.Facts{User: s.startup.User, Server: auth.Unasked, AllowClearText: s.cfg.Auth.AllowClearTextFrontendAuth, Verifiers: s.cfg.Auth.AuthUser != ""}
	if s.cfg.Auth.EnablePoolHba {
		rules := s.srv.rules.Load()
		c, err := s.hbaClient(rules)
		if err != nil {
			return f, err
		}
		rule, reason := rules.Match(c, s.startup.Database, s.startup.User)
		f.HBA, f.Rule, f.Idents, f.Roles = true, rule, rules.Idents(), c.Roles
		s.rule = rule
		if rule.Method == auth.MethodReject {
			return f, auth.Refusal(c, s.startup.Database, s.startup.User, reason)
		}
	}
	if s.secured != nil {
		f.TLS = true
		cert := s.secured.cert
		f.Cert = auth.ClientCert{Presented: cert.Presented, Verified: cert.Verified, CN: cert.CN, DN: cert.DN}
	}
	if f.Rule.Method == auth.MethodPeer {
		f.Peer = s.peerUser()
	}
	f.Entry = s.findEntry()
	s.entry = f.Entry
	return f, nil
}

// findEntry looks the user up in pool_passwd, then by auth_query.
func (s *session) findEntry() (e auth.Entry) {
	if file := s.srv.parts.Passwords; file != nil {
		passwords, err := file.Current()
		if err != nil {
			s.log.Log(logging.Event{Severity: logging.Warning, Message: "could not read pool_passwd", Detail: err.Error()})
		}
		if passwords != nil {
			e = passwords.Lookup(s.startup.User)
		}
	}
	if e.Present() || s.cfg.Auth.AuthUser == "" || s.srv.parts.Users == nil {
		return e
	}
	var err error
	s.t.Offload(func() {
		ctx, cancel := s.loginContext()
		defer cancel()
		e, err = s.srv.parts.Users.Entry(ctx, s.startup.Database, s.startup.User)
	})
	if err != nil {
		s.log.Log(logging.Event{Severity: s.lackSeverity(), Message: "auth_query gives no password", Detail: err.Error()})
	}
	return e
}

// lackSeverity is that of the line about a user without a password: for many whose method asks for none that is as it should be.
func (s *session) lackSeverity() logging.Severity {
	switch s.rule.Method {
	case auth.MethodTrust, auth.MethodCert, auth.MethodPeer, auth.MethodLDAP, auth.MethodPAM:
		return logging.Debug1
	case auth.MethodReject, auth.MethodPassword, auth.MethodMD5, auth.MethodSCRAM:
	}
	return logging.Log
}

// loginContext ends with the time the client has for its login.
func (s *session) loginContext() (context.Context, context.CancelFunc) {
	if until := s.loginUntil(); !until.IsZero() {
		return context.WithDeadline(context.Background(), until)
	}
	return context.WithCancel(context.Background())
}

// peerUser is the operating system's name of who holds the other end of a Unix socket; "" if it cannot be told.
func (s *session) peerUser() (name string) {
	if !s.peer.local {
		return ""
	}
	cred, err := unix.GetsockoptUcred(s.client.conn.FD(), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return ""
	}
	s.t.Offload(func() {
		if u, err := user.LookupId(strconv.FormatUint(uint64(cred.Uid), 10)); err == nil {
			name = u.Username
		}
	})
	return name
}

// hbaClient is what pool_hba.conf compares; names and interfaces are gathered where a record needs them.
func (s *session) hbaClient(rules *auth.Rules) (auth.Client, error) {
	c := auth.Client{Local: s.peer.local, TLS: s.secured != nil, Addr: s.address()}
	needs := rules.Needs(c, s.startup.Database, s.startup.User)
	if needs == (auth.Needs{}) {
		return c, nil
	}
	var err error
	s.t.Offload(func() {
		if needs.Names {
			ctx, cancel := context.WithTimeout(context.Background(), nameTimeout)
			defer cancel()
			c.Names = auth.GatherNames(ctx, net.DefaultResolver, c.Addr)
		}
		if needs.Interfaces {
			c.Interfaces = interfaces()
		}
		if needs.Roles && s.srv.parts.Users != nil {
			ctx, cancel := s.loginContext()
			defer cancel()
			c.Roles, err = s.srv.parts.Users.Roles(ctx, s.startup.User)
		}
	})
	switch {
	case err != nil:
		return c, rolesUnknown(s.startup.User, err)
	case needs.Roles && c.Roles == nil:
		c.Roles = []string{} // a user the servers do not know is in no group
	}
	return c, nil
}

// rolesUnknown refuses a client about whom a record asks for roles that nobody tells: the record may be the one that keeps it out.
func rolesUnknown(user string, err error) error {
	return &auth.Error{
		ClientMessage: "client authentication failed", Hint: "see pgpool log for details", SQLSTATE: "28000",
		LogText:   "client authentication failed",
		LogDetail: "could not ask for the roles of user " + strconv.Quote(user) + ": " + err.Error(),
		LogHint:   "pool_hba.conf has records with groups; auth_user, or else sr_check_user, must be able to log in.",
	}
}

// nameTimeout bounds the look-up of a client's name.
const nameTimeout = 10 * time.Second

func interfaces() []netip.Prefix {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// outside asks LDAP or PAM about the client's password.
func (s *session) outside(password string) error {
	if s.srv.parts.Outside == nil {
		return errNobodyToAsk
	}
	ctx, cancel := s.loginContext()
	defer cancel()
	err := s.srv.parts.Outside(ctx, s.rule, s.startup.User, password, s.peer.host)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errLoginTimeout
	}
	return err
}

var errNobodyToAsk = errors.New("the authentication method is not built into this program")
