package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// pairProblem is what is wrong with a line of an input file.
type pairProblem uint8

const (
	pairFine pairProblem = iota
	pairBlank
	pairInvalid
	pairLongUsername
	pairLongPassword
)

func (p pairProblem) String() string {
	switch p {
	case pairFine:
		return "fine"
	case pairBlank:
		return "blank line"
	case pairInvalid:
		return "invalid username:password pair"
	case pairLongUsername:
		return fmt.Sprintf("input exceeds maximum username length %d", maxUsername)
	case pairLongPassword:
		return fmt.Sprintf("input exceeds maximum password length %d", maxPassword)
	}
	return "unknown"
}

// pair is a line of an input file.
type pair struct {
	line               int // counted from 1
	username, password string
	problem            pairProblem
}

// parsePairs reads username:password lines; the first colon separates, a carriage return at the end is none of the password.
func parsePairs(text string) []pair {
	var pairs []pair
	number := 0
	for line := range strings.Lines(text) {
		number++
		p := parsePair(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
		p.line = number
		pairs = append(pairs, p)
	}
	return pairs
}

func parsePair(line string) pair {
	username, password, _ := strings.Cut(line, ":")
	p := pair{username: username, password: password}
	switch {
	case line == "":
		p.problem = pairBlank
	case password == "", strings.ContainsRune(line, 0):
		p.problem = pairInvalid
	case len(username) > maxUsername:
		p.problem = pairLongUsername
	case len(password) > maxPassword:
		p.problem = pairLongPassword
	}
	return p
}

// taker does with passwords what the program is for.
type taker interface {
	take(username, password string) error
	pair(p pair) error // a line of a file, which may be wrong
}

// carryOut takes the one password, or those of the input file.
func (i *invocation) carryOut(o options, password string, t taker, s *store) (err error) {
	if o.inputFile == "" {
		err = t.take(o.username, password)
	} else {
		err = i.eachPair(o.inputFile, t)
	}
	if err != nil {
		return err
	}
	return s.flush()
}

// eachPair reads an input file.
func (i *invocation) eachPair(path string, t taker) error {
	i.printf("trying to read username:password pairs from file %s\n", path)
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("failed to open input_file %q (%s)\n", path, reason(err)) //nolint:revive,staticcheck // the text scripts know
	}
	for _, p := range parsePairs(string(text)) {
		if err := t.pair(p); err != nil {
			return err
		}
	}
	return nil
}

// reason is an error of the operating system as the C library words it.
func reason(err error) string {
	var number syscall.Errno
	var path *fs.PathError
	switch {
	case errors.As(err, &number):
		text := number.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	case errors.As(err, &path):
		return path.Err.Error()
	}
	return err.Error()
}
