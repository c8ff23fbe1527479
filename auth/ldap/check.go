package ldap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gopgpool/auth"
	"gopgpool/auth/outside"
)

// patience is how long one server may take where the context has no deadline.
const patience = 10 * time.Second

// Client asks directories. There is one in a process; its methods may be called from everywhere.
type Client struct {
	authorities authorities
}

// New returns a client.
func New() *Client { return &Client{} }

// Check returns nil if the directory accepts the password of the user, else an [*outside.Error] whose text is for the log only. It blocks
// while servers are asked, not longer than ctx allows; of the time left, each of several servers gets an equal share. An empty
// password, which many servers take for an anonymous login and accept, is refused without asking. The password is sent to the servers
// of o only: referrals are not followed, and with TLS not before the certificate was verified.
func (c *Client) Check(ctx context.Context, o auth.LDAPOptions, user, password string) error {
	l := login{
		options: o, user: user, password: password, authorities: &c.authorities,
		lookupSRV: net.DefaultResolver.LookupSRV, getenv: os.Getenv, confFiles: confFiles(),
	}
	return l.run(ctx)
}

// login is one question. The function fields are the system's, but in tests.
type login struct {
	options        auth.LDAPOptions
	user, password string

	lookupSRV   func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	getenv      func(string) string
	confFiles   []string // the first that exists counts
	authorities *authorities
	security    security // set by run
}

func (l *login) run(ctx context.Context) error {
	if l.password == "" {
		return outside.New(outside.Refused, `empty password of LDAP user "`+outside.Printable(l.user)+`"`, nil)
	}
	if err := checkUser(l.options, l.user); err != nil {
		return err
	}
	servers, err := l.servers(ctx)
	if err != nil {
		return err
	}
	if l.security, err = l.readSecurity(); err != nil {
		return err
	}
	return l.askInTurn(ctx, servers)
}

// askInTurn asks the servers until one has an answer.
func (l *login) askInTurn(ctx context.Context, servers []server) error {
	var all unreached
	for i, s := range servers {
		turn, cancel := share(ctx, len(servers)-i)
		err := l.ask(turn, s)
		cancel()
		if e := (*outside.Error)(nil); !errors.As(err, &e) || e.Failure != outside.Unavailable {
			return err
		}
		all = append(all, err)
		if ctx.Err() != nil {
			break
		}
	}
	return outside.New(outside.Unavailable, "no LDAP server answered", all)
}

// share is the context of one server, if left are to be tried with it.
func share(ctx context.Context, left int) (context.Context, context.CancelFunc) {
	limit := patience
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline) / time.Duration(left)
	}
	return context.WithTimeout(ctx, limit)
}

func (l *login) ask(ctx context.Context, s server) error {
	if !l.options.Search {
		return l.bindUser(ctx, s, bindName(l.options, l.user))
	}
	name, err := l.find(ctx, s)
	if err != nil {
		return err
	}
	return l.bindUser(ctx, s, name)
}

// bindUser logs in as name on a connection of its own: nothing of the search's login may stick to it.
func (l *login) bindUser(ctx context.Context, s server, name string) error {
	if name == "" {
		return outside.New(outside.Unusable, "LDAP name to log in with is empty, which would be an anonymous login", nil)
	}
	c, err := l.dial(ctx, s)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.Bind(name, l.password); err != nil {
		return failed(ctx, fmt.Sprintf(`LDAP login failed for user "%s" on server "%s"`, outside.Printable(name), s.host), err, outside.Refused)
	}
	return nil
}

// find returns the name of the one entry that is the user's.
func (l *login) find(ctx context.Context, s server) (string, error) {
	entries, err := l.search(ctx, s)
	if err != nil {
		return "", err
	}
	where := fmt.Sprintf(`LDAP search for filter "%s" on server "%s"`, outside.Printable(filter(l.options, l.user)), s.host)
	switch len(entries) {
	case 0:
		l.pretend(ctx, s)
		return "", outside.New(outside.Refused, `LDAP user "`+outside.Printable(l.user)+`" does not exist`, errors.New(where+" returned no entries"))
	case 1:
		return entries[0].DN, nil
	}
	return "", outside.New(outside.Refused, `LDAP user "`+outside.Printable(l.user)+`" is not unique`, errors.New(where+" returned more than one entry"))
}

// pretend takes the steps of a login that fails, so that the time until the refusal does not tell which users exist.
func (l *login) pretend(ctx context.Context, s server) {
	name := "cn=nobody"
	if l.options.BaseDN != "" {
		name += "," + l.options.BaseDN
	}
	_ = l.bindUser(ctx, s, name) // refused or not, the user is
}

// search returns the entries that match, two at most.
func (l *login) search(ctx context.Context, s server) ([]*ldap.Entry, error) {
	c, err := l.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return l.searchOn(ctx, c, s)
}

func (l *login) searchOn(ctx context.Context, c *conn, s server) ([]*ldap.Entry, error) {
	request := &ldap.SimpleBindRequest{
		Username: l.options.BindDN, Password: l.options.BindPassword, AllowEmptyPassword: true,
	}
	if _, err := c.SimpleBind(request); err != nil {
		what := fmt.Sprintf(`could not perform initial LDAP bind for ldapbinddn "%s" on server "%s"`, l.options.BindDN, s.host)
		return nil, failed(ctx, what, err, outside.Unusable)
	}
	found, err := c.Search(ldap.NewSearchRequest(l.options.BaseDN, scope(l.options.Scope), ldap.NeverDerefAliases, 2, 0, false,
		filter(l.options, l.user), []string{"1.1"}, nil)) // 1.1: no attributes (RFC 4511, 4.5.1.8)
	if err == nil || ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) && len(found.Entries) > 1 {
		return found.Entries, nil
	}
	what := fmt.Sprintf(`could not search LDAP for filter "%s" on server "%s"`, outside.Printable(filter(l.options, l.user)), s.host)
	return nil, failed(ctx, what, err, outside.Unusable)
}

func scope(s auth.LDAPScope) int {
	switch s {
	case auth.LDAPScopeBase:
		return ldap.ScopeBaseObject
	case auth.LDAPScopeOne:
		return ldap.ScopeSingleLevel
	case auth.LDAPScopeSub:
		return ldap.ScopeWholeSubtree
	}
	return ldap.ScopeWholeSubtree
}
