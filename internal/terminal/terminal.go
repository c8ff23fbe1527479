package terminal

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// Is reports whether f is a terminal.
func Is(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Ask writes text to out and reads a line from the terminal in without echo; then it writes a line feed to out. The key
// for the end of the input has no effect. A signal that ends the program does so here, with the exit status of shells, once the terminal
// echoes again.
func Ask(in, out *os.File, text string) (string, error) {
	state, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", err
	}
	signals, answered, restored := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go restoreOnSignal(in, out, state, signals, answered, restored)
	_, _ = fmt.Fprint(out, text) // who does not see the question gives no answer
	password, err := term.ReadPassword(int(in.Fd()))
	signal.Stop(signals)
	close(answered)
	<-restored
	_, _ = fmt.Fprintln(out)
	return string(password), err
}

func restoreOnSignal(in, out *os.File, state *term.State, signals <-chan os.Signal, answered <-chan struct{}, restored chan<- struct{}) {
	defer close(restored)
	select {
	case <-answered:
	case s := <-signals:
		_ = term.Restore(int(in.Fd()), state)
		_, _ = fmt.Fprintln(out)
		number, _ := s.(syscall.Signal)
		os.Exit(128 + int(number))
	}
}
