package pam

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"gopgpool/auth"
	"gopgpool/auth/outside"
)

// Places is how many questions may be with PAM at a time. Each holds a thread for as long as the modules please: a wrong password
// usually for two seconds, a directory that does not answer for minutes.
const Places = 64

// Stack is the way to the machine's PAM. There is one in a process; its methods may be called from everywhere.
type Stack struct {
	places chan struct{} // one element per question at work

	lookupAddr func(ctx context.Context, address string) ([]string, error)
	lookupHost func(ctx context.Context, name string) ([]string, error)
	dirs       []string // where services are described
}

// New returns the way to PAM with places for so many questions at a time.
func New(places int) *Stack {
	return &Stack{
		places:     make(chan struct{}, places),
		lookupAddr: net.DefaultResolver.LookupAddr, lookupHost: net.DefaultResolver.LookupHost,
		dirs: []string{"/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d", "/usr/etc/pam.d"},
	}
}

// question is what PAM is asked.
type question struct {
	service, user, password string
	rhost                   string // "" behind a Unix socket
}

// Check returns nil if the service of PAM accepts password and account of the user, else an [*outside.Error] whose text is for the log only.
// address is the client's, without port; "" behind a Unix socket. It blocks until PAM has an answer or ctx ends. In the latter case the
// modules go on by themselves, keep one of the places, and nobody hears their answer; with no place free Check waits for one. An
// empty password is refused without asking.
func (s *Stack) Check(ctx context.Context, o auth.PAMOptions, user, password, address string) error {
	if err := s.examine(o, user, password); err != nil {
		return err
	}
	q := question{service: o.Service, user: user, password: password, rhost: address}
	if o.UseHostname && address != "" {
		q.rhost = s.hostName(ctx, address)
	}
	select {
	case s.places <- struct{}{}:
	case <-ctx.Done():
		return outside.New(outside.Unavailable, fmt.Sprintf("all %d places are taken by PAM modules that do not end", cap(s.places)), context.Cause(ctx))
	}
	answer := make(chan error, 1)
	go s.ask(q, answer)
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return outside.New(outside.Unavailable, "PAM has not answered in time", context.Cause(ctx))
	}
}

// ask runs on a goroutine of its own. Check waits for it as long as its context lasts; what a module does then ends by itself, for nothing
// can end it, and keeps its place until it has.
func (s *Stack) ask(q question, answer chan<- error) {
	defer func() { <-s.places }()
	answer <- authenticate(q)
}

// examine refuses what need not, or must not, reach PAM.
func (s *Stack) examine(o auth.PAMOptions, user, password string) error {
	switch {
	case !Built:
		return outside.New(outside.Unusable, "this pgpool was built without PAM", nil)
	case password == "":
		return outside.New(outside.Refused, `empty password of user "`+outside.Printable(user)+`"`, nil)
	case user == "", strings.Contains(user+password, "\x00"):
		return outside.New(outside.Refused, `invalid user name or password of user "`+outside.Printable(user)+`"`, nil)
	case !s.describes(o.Service):
		return outside.New(outside.Unusable, `unable to create PAM authenticator: no service "`+outside.Printable(o.Service)+`" in `+s.dirs[0], nil)
	}
	return nil
}

// describes reports whether there is such a service. For one that is not there PAM would take the service "other", which on many
// machines lets in whoever has an account there.
func (s *Stack) describes(service string) bool {
	if service == "" || strings.ContainsAny(service, "/\x00") {
		return false
	}
	for _, dir := range s.dirs {
		info, err := os.Stat(filepath.Join(dir, strings.ToLower(service)))
		if err == nil && info.Mode().IsRegular() && info.Size() > 0 {
			return true
		}
	}
	return false
}

// hostName is the name of an address, if that name has the address too; else the address.
func (s *Stack) hostName(ctx context.Context, address string) string {
	names, err := s.lookupAddr(ctx, address)
	if err != nil || len(names) == 0 {
		return address
	}
	name := strings.TrimSuffix(names[0], ".")
	addresses, err := s.lookupHost(ctx, name)
	if err != nil {
		return address
	}
	for _, a := range addresses {
		if net.ParseIP(a).Equal(net.ParseIP(address)) {
			return name
		}
	}
	return address
}

// maxPrompts is how often the password is given: a stack of several modules may ask for each of them.
const maxPrompts = 4

// conversation answers the modules.
type conversation struct {
	password string
	prompts  int
	said     []string // by modules, about what is wrong
}

var (
	errPrompt  = errors.New("only a hidden question, the password, can be answered")
	errPrompts = errors.New("too many questions")
)

// hidden answers a question that asks not to show the answer.
func (c *conversation) hidden() (string, error) {
	if c.prompts++; c.prompts > maxPrompts {
		return "", errPrompts
	}
	return c.password, nil
}

// complaint takes a module's message about an error down for the log.
func (c *conversation) complaint(text string) {
	if len(c.said) < maxPrompts {
		c.said = append(c.said, text)
	}
}
