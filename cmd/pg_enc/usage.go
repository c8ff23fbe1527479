package main

import (
	"fmt"
	"path/filepath"

	"gopgpool/auth"
	"gopgpool/conf"
)

// usage is what --help prints.
func (i *invocation) usage() string {
	config := filepath.Join(conf.Directory(sysconfdir), "pgpool.conf")
	if filepath.Base(i.called) == "pg_md5" {
		return fmt.Sprintf(md5Usage, config, maxPassword)
	}
	return fmt.Sprintf(encUsage, version, auth.KeyFilePath("", "", i.home()), config, maxPassword)
}

const encUsage = `pgpool-II version 4.7.2 (gopgpool %s)
pg_enc - encrypts passwords for pool_passwd

Usage:
  pg_enc [OPTION...] [PASSWORD]

Without PASSWORD it is asked for. An argument can be seen in the list of processes:
-p and -P keep password and key out of it.

  -m, --update-pass        write the entry to pool_passwd instead of printing it
  -u, --username=USER      whose entry (default: the operating system's user)
  -p, --prompt             ask for the password
  -i, --input-file=FILE    passwords of several users: lines of user:password

  -k, --key-file=FILE      file whose first line is the encryption key
                           (default $PGPOOLKEYFILE, else %s);
                           refused if others may access it, unless pgpool.conf
                           has allow_insecure_key_file
  -K, --enc-key=KEY        the encryption key itself
  -P, --prompt-for-key     ask for the encryption key

  -f, --config-file=FILE   pgpool.conf, which tells where pool_passwd is
                           (default %s)
  -h, --help               print this text

A password has at most %d bytes. Pgpool-II itself decrypts those of at most 79.
`

const md5Usage = `pg_md5 - hashes passwords for pcp.conf and pool_passwd

Usage:
  pg_md5 [OPTION...] PASSWORD        print the hash, as pcp.conf has it
  pg_md5 -m [OPTION...] PASSWORD     write the user's entry to pool_passwd

An argument can be seen in the list of processes; -p and -i keep it out.

  -m, --md5auth            write to pool_passwd instead of printing
  -u, --username=USER      whose entry (default: the operating system's user)
  -p, --prompt             ask for the password
  -i, --input-file=FILE    passwords of several users: lines of user:password
  -f, --config-file=FILE   pgpool.conf, which tells where pool_passwd is
                           (default %s)
  -h, --help               print this text

A password has at most %d bytes.
`
