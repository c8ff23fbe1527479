// Package proxyproto reads the header of the PROXY protocol, versions 1 and 2, by which a balancer in front of the
// proxy tells whose connection it forwards. It owns the bounds of a header and what of it counts ([Parse], [Header]).
//
// It leaves to its callers: the socket and its deadline, which networks may send a header and must, and what the
// address is used for.
package proxyproto
