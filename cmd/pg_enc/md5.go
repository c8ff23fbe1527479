package main

import (
	"crypto/md5"
	"encoding/hex"

	"gopgpool/auth"
)

// hash is pg_md5.
func (i *invocation) hash(args []string) error {
	o, err := parse(md5Flags, args)
	if err != nil {
		return err
	}
	password := ""
	if o.inputFile == "" {
		if password, err = i.md5Password(o); err != nil {
			return err
		}
	}
	store, err := i.openStore(o)
	if err != nil {
		return err
	}
	return i.carryOut(o, password, hasher{i, store}, store)
}

func (i *invocation) md5Password(o options) (password string, err error) {
	switch {
	case o.prompt:
		if password, err = i.ask("password: "); err != nil {
			return "", err
		}
	case len(o.words) == 0:
		return "", usageError{}
	default:
		password = o.words[0]
	}
	if len(password) > maxPassword {
		return "", usageError{"Error: Input exceeds maximum password length!"}
	}
	return password, nil
}

// hasher prints the form of pcp.conf, or stores that of pool_passwd, which contains the user's name.
type hasher struct {
	*invocation
	store *store // nil: print
}

func (h hasher) take(username, password string) error {
	if h.store != nil {
		username, err := h.store.user(username)
		if err != nil {
			return err
		}
		return h.store.add(username, auth.MD5Hash(password, username))
	}
	sum := md5.Sum([]byte(password))
	h.printf("%s\n", hex.EncodeToString(sum[:]))
	return nil
}

// pair tells about each line on stdout.
func (h hasher) pair(p pair) error {
	switch p.problem {
	case pairFine:
		h.printf("LINE#%02d: USER: <%s>\n", p.line, p.username)
		return h.take(p.username, p.password)
	case pairBlank:
		h.printf("LINE#%02d: BLANK LINE\n", p.line)
	case pairInvalid:
		h.printf("LINE#%02d: Invalid username:password pair\n", p.line)
	case pairLongUsername:
		h.printf("LINE#%02d: %s\n\n", p.line, p.problem)
	case pairLongPassword:
		h.printf("LINE#%02d: %s\n", p.line, p.problem)
	}
	return nil
}
