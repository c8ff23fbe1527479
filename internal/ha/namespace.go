package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// startInside runs this program again in a mount and a network namespace of its own: what is mounted or cut there is gone with the last
// process, however it ends. Signals are passed on; the kernel ends the child if we die first. Servers that pgpool starts are nobody's
// children: they become ours, so that they are gone at once when they are killed, and not kept as zombies, which look alive.
func startInside() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, append([]string{"-inside"}, os.Args[1:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		Pdeathsig:    syscall.SIGTERM,
		Setpgid:      true, // a signal from the terminal reaches it once, through us
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("subreaper: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- reap(cmd.Process.Pid) }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // gone meanwhile
		case err := <-ended:
			return err
		}
	}
}

// reap waits for all children until a certain one has ended, and tells how.
func reap(last int) error {
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("children: %w", err)
		case pid == last && status.Signaled():
			return fmt.Errorf("the process inside was ended by signal %s", status.Signal())
		case pid == last && status.ExitStatus() != 0:
			return fmt.Errorf("exit status %d", status.ExitStatus())
		case pid == last:
			return nil
		}
	}
}

// furnishNamespace brings the loopback device of a new network namespace up.
func furnishNamespace() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("loopback device: %w", err)
	}
	return nil
}
