// Package pam asks Linux-PAM whether a client's password is right and its account in force (manual: PAM authentication). It owns the
// conversation with the modules, and the bound on how many of them are at work at a time: they cannot be interrupted.
//
// PAM is C. It is linked in by the build tag pam (see [Built]), which the Makefile gives where libpam's header is installed.
// Without it every login by PAM is refused.
//
// It leaves to its callers: asking the client for the password, and logging.
package pam
