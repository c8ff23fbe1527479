package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"

	"gopgpool/auth"
	"gopgpool/conf"
)

// loadHBA reads pool_hba.conf with the files it includes. With any error there are no rules.
func loadHBA(path string) (*auth.Rules, []error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, []error{fmt.Errorf("could not open configuration file %q: %w", path, err)}
	}
	return auth.ParseHBA(path, text, os.ReadFile)
}

// loadKey finds and reads the key of AES encrypted passwords. A warning is an insecure file the configuration allows.
func loadKey(o Options, c *conf.Auth) (key auth.Key, warning, err error) {
	home := ""
	if u, err := user.Current(); err == nil {
		home = u.HomeDir
	}
	key, err = auth.LoadKey(auth.KeyFilePath(o.KeyFile, os.Getenv("PGPOOLKEYFILE"), home), c.AllowInsecureKeyFile)
	if c.AllowInsecureKeyFile && errors.Is(err, auth.ErrKeyFileMode) {
		return key, err, nil
	}
	return key, nil, err
}
