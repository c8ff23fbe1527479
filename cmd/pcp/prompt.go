package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// promptTerminal asks on the terminal without echo. Where there is no terminal, stderr and a line of stdin take its place.
func promptTerminal(text string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err == nil {
		defer tty.Close() // nothing is buffered
		return askTerminal(tty, tty, text)
	}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return askTerminal(os.Stdin, os.Stderr, text)
	}
	return askPlain(os.Stdin, os.Stderr, text)
}

// askTerminal gives the terminal its echo back whatever ends the question.
func askTerminal(in, out *os.File, text string) (string, error) {
	state, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", err
	}
	signals, answered, restored := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		defer close(restored)
		select {
		case <-answered:
		case s := <-signals:
			_ = term.Restore(int(in.Fd()), state)
			_, _ = fmt.Fprintln(out)
			number, _ := s.(syscall.Signal)
			os.Exit(128 + int(number))
		}
	}()
	_, _ = fmt.Fprint(out, text)
	password, err := term.ReadPassword(int(in.Fd()))
	signal.Stop(signals)
	close(answered)
	<-restored
	_, _ = fmt.Fprintln(out)
	if errors.Is(err, io.EOF) {
		err = nil // an empty password
	}
	return string(password), err
}

// askPlain reads a line byte by byte: what is behind it is not ours.
func askPlain(in io.Reader, out io.Writer, text string) (string, error) {
	_, _ = fmt.Fprint(out, text)
	defer func() { _, _ = fmt.Fprintln(out) }()
	var line strings.Builder
	for b := make([]byte, 1); ; {
		n, err := in.Read(b)
		switch {
		case n > 0 && b[0] == '\n', n == 0 && errors.Is(err, io.EOF):
			return strings.TrimSuffix(line.String(), "\r"), nil
		case n > 0:
			line.WriteByte(b[0])
		case err != nil:
			return "", err
		}
	}
}
