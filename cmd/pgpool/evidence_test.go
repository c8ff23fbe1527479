package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"gopgpool/failover"
	"gopgpool/loop"
)

func TestEvidenceOf(t *testing.T) {
	dial := func(err error) error { return fmt.Errorf("DB node 1: %w", &loop.DialError{Addr: "x", Err: err}) }
	for _, c := range []struct {
		err  error
		want failover.Evidence
	}{
		{dial(syscall.ECONNREFUSED), failover.Refused},
		{dial(syscall.ENOENT), failover.Refused},
		{dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), failover.Refused},
		{dial(syscall.EHOSTUNREACH), failover.Unreachable},
		{dial(syscall.ENETUNREACH), failover.Unreachable},
		{dial(os.ErrDeadlineExceeded), failover.TimedOut},
		{dial(syscall.ETIMEDOUT), failover.TimedOut},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, failover.Unresolved},
		{&net.DNSError{Err: "timeout", IsTimeout: true}, failover.Unresolved},
		{syscall.ECONNRESET, failover.Broken},
		{errors.New("server closed the connection during login"), failover.Broken},
		{io.ErrUnexpectedEOF, failover.Broken},
	} {
		if got := evidenceOf(c.err); got != c.want {
			t.Errorf("%v is %v, want %v", c.err, got, c.want)
		}
	}
}
