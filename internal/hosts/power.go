package hosts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Freeze stops every process of the host, ssh sessions to it included. Its kernel still answers: connections are accepted as long as
// a listener's queue has room, and nothing else ever happens on them.
func (h *Host) Freeze() error {
	pause := true
	_, err := h.ask(order{Signal: int(syscall.SIGSTOP), Pause: &pause})
	return err
}

// Thaw undoes Freeze.
func (h *Host) Thaw() error {
	pause := false
	_, err := h.ask(order{Signal: int(syscall.SIGCONT), Pause: &pause})
	return err
}

// PowerOff is a loss of power: first the host falls silent, then its processes are no more, and the addresses that were added. What they
// wrote to files is kept; /run and /tmp are kept too, except by [Host.PowerOn].
func (h *Host) PowerOff(ctx context.Context) error {
	if err := h.Cut(); err != nil {
		return err
	}
	_, err := h.ask(order{Signal: int(syscall.SIGKILL)})
	for err == nil {
		var a answer
		if a, err = h.ask(order{}); err != nil || a.Processes == 0 {
			break
		}
		err = pause(ctx, 5*time.Millisecond)
	}
	if err == nil {
		err = h.resetAddresses()
	}
	if err != nil {
		return fmt.Errorf("host %s: power off: %w", h.Name, err)
	}
	return nil
}

// pause lets a little time pass between two looks.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// PowerOn brings a host back that was switched off: with an empty /tmp, the addresses it was made with, and no process.
func (h *Host) PowerOn(ctx context.Context) error {
	if _, err := h.Run(ctx, "root", "rm -rf /tmp/* /tmp/.[!.]*"); err != nil {
		return err
	}
	return h.Heal()
}

// resetAddresses removes the addresses that were added, as they would not outlive the power.
func (h *Host) resetAddresses() error {
	inside, err := netlink.NewHandleAt(netns.NsHandle(h.net.Fd()))
	if err != nil {
		return err
	}
	defer inside.Close()
	return h.eachPort(func(p port) error {
		link, err := inside.LinkByName(p.device.Name)
		if err != nil {
			return err
		}
		addresses, err := inside.AddrList(link, unix.AF_INET)
		if err != nil {
			return err
		}
		for _, a := range addresses {
			if a.IP.Equal(p.device.Address.Addr().AsSlice()) {
				continue
			}
			if err := inside.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return err
			}
		}
		return nil
	})
}

// Call is a call of one of the stand-in programs on a host.
type Call struct {
	Program string // ssh, scp, sudo, logger
	User    string // who called it
	Args    []string
	Running bool // it has not ended
	Exit    int  // -1 while it runs, and for a sudo that became another program
}

// Calls lists the calls of stand-in programs on the host since it was made, in the order of their beginning.
func (h *Host) Calls() ([]Call, error) {
	data, err := h.ReadFile(callsFile)
	if err != nil {
		return nil, err
	}
	return parseCalls(data)
}

func parseCalls(data []byte) (calls []Call, err error) {
	running := map[int]int{} // PID to index
	lines := json.NewDecoder(bytes.NewReader(data))
	for {
		var r callRecord
		err := lines.Decode(&r)
		if errors.Is(err, io.EOF) {
			return calls, nil
		}
		if err != nil {
			return calls, fmt.Errorf("call log: %w", err)
		}
		if i, ok := running[r.PID]; ok && r.Exit != nil {
			calls[i].Running, calls[i].Exit = false, *r.Exit
			delete(running, r.PID)
			continue
		}
		running[r.PID] = len(calls)
		calls = append(calls, Call{Program: r.Program, User: r.User, Args: r.Args, Running: true, Exit: -1})
	}
}

// Logged is what the host's logger was told.
func (h *Host) Logged() (string, error) {
	data, err := h.ReadFile(loggerFile)
	return string(data), err
}

// RefuseSSH makes ssh and scp to the host fail at once, or lets them in again.
func (h *Host) RefuseSSH(refuse bool) error {
	if refuse {
		return h.WriteFile("root", noSSHFile, "", 0o644)
	}
	return h.Within(func() error { return os.Remove(noSSHFile) })
}
