package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"gopgpool/pcp"
)

// authenticationError is why the server did not let us in.
type authenticationError struct{ err error }

func (e authenticationError) Error() string { return e.err.Error() }
func (e authenticationError) Unwrap() error { return e.err }

// connectError is an attempt to reach the server.
type connectError struct {
	to  string // host "h", or socket "s"
	err error
}

func (e connectError) Error() string {
	return "connection to " + e.to + " failed with error " + quote(systemText(e.err))
}
func (e connectError) Unwrap() error { return e.err }

// systemText words an error as the C library does.
func systemText(err error) string {
	var errno syscall.Errno
	var dns *net.DNSError
	text := err.Error()
	switch {
	case errors.As(err, &errno):
		text = errno.Error()
	case errors.As(err, &dns) && dns.IsNotFound:
		text = "name or service not known"
	case errors.As(err, &dns) && dns.IsTemporary:
		text = "temporary failure in name resolution"
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// errorText is what an error looks like on stderr (manual: PCP commands; scripts search for it).
func errorText(err error) string {
	var server *pcp.ServerError
	if errors.As(err, &server) {
		return server.Error() + "\n\n"
	}
	// The sockets that were tried.
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var b strings.Builder
		for _, e := range joined.Unwrap() {
			b.WriteString(errorText(e))
		}
		return b.String()
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "ERROR: getaddrinfo failed " + quote(systemText(err)) + "\n"
	}
	return "ERROR: " + err.Error() + "\n"
}

// exitStatus is 0 too where the server refused the command: scripts rely on it.
func exitStatus(err error, strict bool) int {
	var server *pcp.ServerError
	var login authenticationError
	if errors.As(err, &server) && !errors.As(err, &login) && !strict {
		return 0
	}
	return 1
}

// usageError tells what is wrong with the command line. called is the name in full, as getopt has it.
func (i *invocation) usageError(called, name string, args []string, err error) int {
	var value valueError
	var unsupported unsupportedError
	var stray strayError
	try := "Try " + quote(name+" --help") + " for more information.\n"
	switch {
	case errors.As(err, &value):
		i.say("%s: %s\n", name, value.text)
		if value.status == 0 && wantsStrict(args) {
			return 1
		}
		return value.status
	case errors.As(err, &unsupported):
		i.say("Invalid argument %s, %s", quote(unsupported.argument), try)
	case errors.As(err, &stray):
		i.say("%s\n", try)
	case errors.Is(err, missingError{}):
		i.say("%s: %v\n%s\n", name, err, try)
	default:
		i.say("%s: %v\n%s\n", called, err, try)
	}
	return 1
}

// connectFailed describes an attempt.
func connectFailed(network, host string, err error) error {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return err
	}
	kind := "host"
	if network == "unix" {
		kind = "socket"
	}
	return connectError{fmt.Sprintf("%s %s", kind, quote(host)), err}
}
