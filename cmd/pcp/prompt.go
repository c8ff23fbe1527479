package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gopgpool/internal/terminal"
)

// promptTerminal asks on the terminal without echo. Where there is no terminal, stderr and a line of stdin take its place.
func promptTerminal(text string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err == nil {
		defer tty.Close() // nothing is buffered
		return terminal.Ask(tty, tty, text)
	}
	if terminal.Is(os.Stdin) {
		return terminal.Ask(os.Stdin, os.Stderr, text)
	}
	return askPlain(os.Stdin, os.Stderr, text)
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
