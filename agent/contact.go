package agent

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// startGrace is how long an agent that was started again, and whose last contact is too long ago, waits for contact before it stops its
// primary. It is part of the time that pgpool grants an agent beyond its lease.
const startGrace = 3 * time.Second

// bootFile names this run of the machine; times since boot mean nothing in another one.
const bootFile = "/proc/sys/kernel/random/boot_id"

// startContact is from when on an agent that starts counts its lease. The lease of a process that is gone does not begin anew: others have
// counted it from the last contact. On the first start, and after a boot, there is none.
func startContact(last time.Duration, known bool, now, lease time.Duration) time.Duration {
	if !known || last > now {
		return now
	}
	return max(last, now-lease+min(startGrace, lease))
}

// noteContact keeps a contact for the next process. It need not outlive the machine.
func (l *Local) noteContact(at time.Duration) error {
	p, err := locate(l.DataDirectory)
	if err != nil {
		return err
	}
	boot, err := os.ReadFile(bootFile)
	if err != nil {
		return err
	}
	f, err := p.openBeside("contact", os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(contactText(boot, at)) // always as long
	return err
}

func contactText(boot []byte, at time.Duration) string {
	return fmt.Sprintf("%s %020d\n", strings.TrimSpace(string(boot)), int64(at))
}

// lastContact is that of the process before, if there was one since the machine was booted.
func (l *Local) lastContact() (at time.Duration, known bool) {
	p, err := locate(l.DataDirectory)
	if err != nil {
		return 0, false
	}
	boot, err := os.ReadFile(bootFile)
	if err != nil {
		return 0, false
	}
	var text []byte
	err = p.owner.as(func() error {
		text, err = os.ReadFile(p.besides("contact"))
		return err
	})
	if err != nil {
		return 0, false
	}
	return parseContact(string(text), boot)
}

func parseContact(text string, boot []byte) (at time.Duration, known bool) {
	name, ns, _ := strings.Cut(strings.TrimSpace(text), " ")
	if name == "" || name != strings.TrimSpace(string(boot)) || len(ns) != 20 {
		return 0, false
	}
	n, err := strconv.ParseInt(ns, 10, 64)
	return time.Duration(n), err == nil && n >= 0
}
