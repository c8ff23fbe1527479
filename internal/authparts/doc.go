// Package authparts starts what tests of authentication need beside PostgreSQL: an LDAP server ([StartSlapd]) and services of PAM
// ([NewPAM]), each for one test, which ends it.
//
// Debian's packages: slapd, and libpam-modules with libpam0g-dev (pgpool and the tests have to be built with -tags pam, as
// the Makefile does where the header is; the harness that builds pgpool does the same). What is missing skips the test, or fails
// it if [RequireEnv] is set. It leaves pool_hba.conf, PostgreSQL and pgpool to package pgcluster.
package authparts
