// Package tlsconf turns the parameters of TLS into what crypto/tls takes: of the manual's section "SSL" for clients, and
// backend_sslmode and its companions for servers. Files are read when a function is called and at no other time, so whoever
// wants new certificates calls again.
//
//	clients.go          what clients meet: ForClients
//	servers.go          how to speak to one server: ForServer; libpq's modes
//	key.go, phrase.go   certificates with their keys, pass phrases, who may read a key
//	authority.go        ssl_ca_cert, ssl_ca_cert_dir, chains that end at a root
//	revoked.go          lists of revoked certificates
//	cipher.go, suite.go OpenSSL's cipher strings, and the suites there are
//	curve.go            ssl_ecdh_curve
//	host.go             whether a certificate is that of a host
//	way.go              asking an open connection for TLS, and when plain text is tried
//	peer.go, binding.go who the other side is: its name, the data of channel binding
//
// What is configured and cannot be had is an error, never a weaker connection. What has no meaning for crypto/tls (DH
// parameters, the order of ciphers) is a warning for the log.
//
// The package opens no connection, and what a certificate entitles to is its callers'.
package tlsconf
