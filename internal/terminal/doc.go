// Package terminal asks people for passwords: without echo, and with the echo given back whatever ends the question.
//
// It owns the terminal's state while it asks. Which terminal, and what there is to do without one, is left to the program.
package terminal
