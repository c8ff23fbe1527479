package auth

import "fmt"

// fmt does not ask the unexported fields of a struct how they want to be printed, so whatever has a password somewhere
// inside says so itself, under every verb.

func redact(s fmt.State, name string) { _, _ = fmt.Fprintf(s, "auth.%s(secret)", name) }

// Format prints no content.
func (p *Passwords) Format(s fmt.State, _ rune) { redact(s, "Passwords") }

// Format prints no content.
func (f *PasswordFile) Format(s fmt.State, _ rune) { redact(s, "PasswordFile") }

// Format prints no content.
func (c *Cache) Format(s fmt.State, _ rune) { redact(s, "Cache") }

// Format prints no content.
func (l *Login) Format(s fmt.State, _ rune) { redact(s, "Login") }

func (a *cleartextAcceptor) Format(s fmt.State, _ rune) { redact(s, "Acceptor") }

func (a *md5Acceptor) Format(s fmt.State, _ rune) { redact(s, "Acceptor") }

func (a *scramAcceptor) Format(s fmt.State, _ rune) { redact(s, "Acceptor") }

// Format prints no content.
func (k clientKey) Format(s fmt.State, _ rune) { redact(s, "clientKey") }

// Format prints no content.
func (v verifier) Format(s fmt.State, _ rune) { redact(s, "verifier") }

// Format prints no content.
func (p Party) Format(s fmt.State, _ rune) { redact(s, "Party") }
