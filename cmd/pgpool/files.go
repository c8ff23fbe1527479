package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"

	"gopgpool/auth"
	"gopgpool/auth/pam"
	"gopgpool/conf"
	"gopgpool/logging"
)

// loadHBA reads pool_hba.conf and pool_ident.conf with the files they include. With any error there are no rules. Without
// a pool_ident.conf there are no maps, which is an error only if a record uses one.
func loadHBA(path, identPath string) (*auth.Rules, []error) {
	files := auth.Files{Read: os.ReadFile, List: listFiles}
	idents, errs, missing := loadIdents(identPath, files)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, append(errs, fmt.Errorf("could not open configuration file %q: %w", path, err))
	}
	rules, bad := auth.ParseHBA(path, text, files, auth.HBAOptions{NoPAM: !pam.Built, Idents: idents})
	errs = append(errs, bad...)
	if missing != nil && slices.ContainsFunc(rules.List(), func(r auth.Rule) bool { return r.Map != "" }) {
		errs = append(errs, missing)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return rules, nil
}

// loadIdents tells apart a file that is missing from one with errors.
func loadIdents(path string, files auth.Files) (idents *auth.Idents, errs []error, missing error) {
	text, err := os.ReadFile(path)
	if err != nil {
		err = fmt.Errorf("could not open configuration file %q: %w", path, err)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		return nil, []error{err}, nil
	}
	idents, errs = auth.ParseIdent(path, text, files)
	return idents, errs, nil
}

// listFiles names what is in a directory and is none itself.
func listFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if st, err := os.Stat(filepath.Join(dir, e.Name())); err != nil || !st.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// readRules loads the rules and tells what is wrong with them, or to be noted.
func (p *parts) readRules(cfg *conf.Config) (*auth.Rules, error) {
	rules, errs := loadHBA(p.opts.HbaFile, cfg.Auth.IdentFile)
	for _, err := range errs {
		p.log.Log(logging.Event{Severity: logging.Error, Message: err.Error()})
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("could not load %s", p.opts.HbaFile)
	}
	p.notices(rules.Notices(cfg.SSL.SSL, checksCertificates(cfg)))
	return rules, nil
}

// checksCertificates tells that clients are asked for certificates. ssl_ca_cert_dir alone does not have them asked.
func checksCertificates(cfg *conf.Config) bool { return cfg.SSL.SSLCaCert != "" }

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
