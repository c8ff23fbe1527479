package main

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"gopgpool/logging"
)

// Stopping asks every stopResend ticks again until the process has gone.
const (
	stopTick   = time.Second
	stopResend = 5
)

// control talks to a running daemon through its pid file and signals.
type control struct {
	log    logging.Logger
	stderr io.Writer
	tick   time.Duration
	kill   func(pid int, sig syscall.Signal) error
}

func (m StopMode) signal() syscall.Signal {
	switch m {
	case StopFast:
		return syscall.SIGINT
	case StopImmediate:
		return syscall.SIGQUIT
	case StopSmart:
	}
	return syscall.SIGTERM
}

// stop has the daemon stop, waits until it has gone, however long that takes, and removes the pid file.
func (c *control) stop(pidFile string, mode StopMode) error {
	pid, err := readPidFile(pidFile)
	if err != nil {
		return fmt.Errorf("could not read pid file: %w", err)
	}
	if err := c.kill(pid, mode.signal()); err != nil {
		return fmt.Errorf("could not stop process with pid: %d: %w", pid, err)
	}
	c.log.Log(logging.Event{Severity: logging.Log, Message: fmt.Sprintf(
		"stop request sent to pgpool (pid: %d). waiting for termination...", pid)})
	if err := c.awaitEnd(pid, mode.signal()); err != nil {
		return err
	}
	removePidFile(pidFile, pid)
	return nil
}

// awaitEnd prints a dot a tick until the process has gone.
func (c *control) awaitEnd(pid int, sig syscall.Signal) error {
	ticker := time.NewTicker(c.tick)
	defer ticker.Stop()
	for n := 1; ; n++ {
		<-ticker.C
		probe := syscall.Signal(0)
		if n%stopResend == 0 {
			probe = sig
		}
		switch err := c.kill(pid, probe); {
		case errors.Is(err, syscall.ESRCH):
			_, _ = io.WriteString(c.stderr, "done.\n")
			return nil
		case err != nil:
			return fmt.Errorf("could not stop process with pid: %d: %w", pid, err)
		}
		_, _ = io.WriteString(c.stderr, ".")
	}
}

// reload has the daemon read its files again; it does not wait for it.
func (c *control) reload(pidFile string) error {
	pid, err := readPidFile(pidFile)
	if err != nil {
		return fmt.Errorf("could not read pid file: %w", err)
	}
	if err := c.kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("could not reload configuration file pid: %d: %w", pid, err)
	}
	return nil
}
