// Command pg_enc makes the entries of pool_passwd: encrypted ones, and called by the name pg_md5, a link, hashed ones (manual: pg_enc,
// pg_md5).
//
// It owns the options, prompts, what is printed and the exit status, all of which scripts read. The form of entries, of the key file
// and of pool_passwd, and how that file is changed, is left to package auth; where it is, to package conf.
package main
