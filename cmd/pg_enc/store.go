package main

import (
	"errors"
	"os"
	"path/filepath"

	"gopgpool/auth"
	"gopgpool/conf"
)

var errSwitchedOff = errors.New("pool_passwd is switched off in the configuration file")

// config reads pgpool.conf, which has to be there.
func (i *invocation) config(o options) (*conf.Config, error) {
	path := o.configFile
	if path == "" {
		path = filepath.Join(conf.Directory(sysconfdir), "pgpool.conf")
	}
	f, err := os.Open(path)
	if err != nil {
		i.say("WARNING: pid %d: could not open configuration file: \"%s\"\n", os.Getpid(), path)
		return nil, errNoConfig
	}
	_ = f.Close() // only its presence counts
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	c, problems := conf.Load(path)
	if c != nil {
		return c, nil
	}
	for _, p := range problems {
		if p.Severity == conf.Error {
			i.say("%s: %s\n", p.Severity, p)
		}
	}
	return nil, errNoConfig
}

// store gathers the lines for pool_passwd, to be written at once.
type store struct {
	*invocation
	path  string
	lines []auth.PasswordLine
}

// openStore finds pool_passwd; without -m there is no store, and no error.
func (i *invocation) openStore(o options) (*store, error) {
	if !o.store {
		return nil, nil //nolint:nilnil // a nil store stores nothing
	}
	c, err := i.config(o)
	if err != nil {
		return nil, err
	}
	if c.Auth.PoolPasswd == "" {
		return nil, errSwitchedOff
	}
	return &store{invocation: i, path: c.Auth.PoolPasswd}, nil
}

// user is the name, or that of the operating system's user for none.
func (s *store) user(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	return s.owner()
}

func (s *store) add(name, entry string) error {
	name, err := s.user(name)
	if err == nil {
		s.lines = append(s.lines, auth.PasswordLine{User: name, Entry: entry})
	}
	return err
}

// flush writes the lines. A nil store has none.
func (s *store) flush() error {
	if s == nil || len(s.lines) == 0 {
		return nil
	}
	created, err := auth.StorePasswords(s.path, s.lines...)
	if created {
		s.say("%s was created, with access for its owner only\n", s.path)
	}
	return err
}
