// Package pty is a terminal for tests, with the person before it.
package pty
