package main

import (
	"errors"
	"fmt"

	"gopgpool/auth"
)

// encrypt is pg_enc.
func (i *invocation) encrypt(args []string) error {
	o, err := parse(encFlags, args)
	if err != nil {
		return err
	}
	password := ""
	if o.inputFile == "" {
		if password, err = i.encPassword(o); err != nil {
			return err
		}
	}
	key, err := i.key(o)
	if err != nil {
		return err
	}
	store, err := i.openStore(o)
	if err != nil {
		return err
	}
	return i.carryOut(o, password, encrypter{i, key, store}, store)
}

// encPassword is the password to encrypt: asked for, unless it is an argument and there is no -p.
func (i *invocation) encPassword(o options) (string, error) {
	if len(o.words) > 0 && !o.prompt {
		return o.words[0], checkEncPassword(o.words[0])
	}
	password, err := i.ask("db password: ")
	if err != nil {
		return "", err
	}
	return password, checkEncPassword(password)
}

func checkEncPassword(password string) error {
	if len(password) > maxPassword {
		return usageError{
			fmt.Sprintf("Error: Input exceeds maximum password length given:%d max allowed:%d!", len(password), maxPassword),
		}
	}
	return nil
}

// key finds the pass phrase: asked for, else given, else in a file.
func (i *invocation) key(o options) (auth.Key, error) {
	phrase := o.key
	if o.promptForKey {
		var err error
		if phrase, err = i.ask("encryption key: "); err != nil {
			return auth.Key{}, err
		}
		if phrase == "" {
			return auth.Key{}, errNoKey
		}
	}
	switch {
	case phrase == "":
		return i.filedKey(o)
	case len(phrase) > auth.MaxKeyLength:
		return auth.Key{}, fmt.Errorf("the encryption key has %d bytes: pgpool reads %d of a key file", len(phrase), auth.MaxKeyLength)
	}
	return auth.NewKey(phrase), nil
}

// filedKey reads the key file. One that others may access is refused, unless the configuration allows it.
func (i *invocation) filedKey(o options) (auth.Key, error) {
	path := auth.KeyFilePath(o.keyFile, i.getenv("PGPOOLKEYFILE"), i.home())
	i.printf("trying to read key from file %s\n", path)
	key, err := auth.LoadKey(path, true)
	if errors.Is(err, auth.ErrKeyFileMode) && i.allowsInsecureKey(o) {
		i.say("WARNING: %v\n", err)
		err = nil
	}
	if err != nil {
		return auth.Key{}, fmt.Errorf("%w\n%w", err, errNoKey)
	}
	if !key.Known() {
		return auth.Key{}, errNoKey
	}
	return key, nil
}

// allowsInsecureKey asks the configuration, if the run concerns one.
func (i *invocation) allowsInsecureKey(o options) bool {
	if !o.store && o.configFile == "" {
		return false
	}
	c, err := i.config(o)
	return err == nil && c.Auth.AllowInsecureKeyFile
}

// encrypter prints or stores passwords in their encrypted form.
type encrypter struct {
	*invocation
	key   auth.Key
	store *store // nil: print
}

func (e encrypter) take(username, password string) error {
	text, err := e.key.Encrypt(password)
	if err != nil {
		return err
	}
	if e.store != nil {
		return e.store.add(username, "AES"+text)
	}
	e.printf("\n%s\npool_passwd string: AES%s\n", text, text)
	return nil
}

// pair is silent about what is not wrong.
func (e encrypter) pair(p pair) error {
	switch p.problem {
	case pairFine:
		return e.take(p.username, p.password)
	case pairBlank:
	case pairInvalid:
		e.say("LINE#%02d: invalid username:password pair\n", p.line)
	case pairLongUsername, pairLongPassword:
		e.say("LINE#%02d: %s\n", p.line, p.problem)
	}
	return nil
}
