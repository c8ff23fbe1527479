// Package authtest lets real clients (psql, pgx, JDBC) log in through pgpool to a real server, in every combination of the rule in
// pool_hba.conf, the stored password, the server's method and the client's TLS. testdata/matrix.txt is the table of what must come
// of it, testdata/outside.txt that of rules judged by LDAP, PAM or the kernel. Beside the right password or certificate each line is
// tried with wrong ones, with users who may not log in, and while a server connection of the same user idles. Further tests carry
// out what needs a story: certificates exchanged under sessions, cancelling, copying and a backlog through TLS, checks of the
// servers' certificates, a failover under TLS. `make authmatrix` makes every attempt with every client and prints the results;
// `make test` takes every second line without JDBC, and -short every eighth.
//
// It owns the certificates, made by openssl for each run, and the clients. Servers and pgpools are package pgcluster's, slapd and
// PAM package authparts'. What a decision is made of is tested in package auth.
package authtest
