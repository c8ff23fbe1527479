package tlsconf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	phraseBound = 30 * time.Second // how long ssl_passphrase_command may take
	maxPhrase   = 1023             // bytes; what it prints beyond them is an error
)

// phraseCommand asks for a pass phrase (manual: ssl_passphrase_command).
type phraseCommand struct {
	command string // for sh; %p in it is the prompt, %% a percent sign
	prompt  string
	bound   time.Duration
}

// run returns the first line the command prints. It must end with exit code 0 and in time. What it writes to standard error goes
// to ours; nothing it prints becomes part of an error.
func (c phraseCommand) run(ctx context.Context) ([]byte, error) {
	if c.command == "" {
		return nil, errNoPhrase
	}
	ctx, cancel := context.WithTimeout(ctx, c.bound)
	defer cancel()
	out := &capped{room: maxPhrase + 1}
	cmd := exec.CommandContext(ctx, "sh", "-c", c.expand())
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, os.Stderr, time.Second
	// What the shell has started must not outlive it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("ssl_passphrase_command has not ended within %v", c.bound)
	case err != nil:
		return nil, fmt.Errorf("ssl_passphrase_command: %w", err)
	}
	line, _, _ := bytes.Cut(out.data, []byte{'\n'})
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if len(line) > maxPhrase {
		return nil, errors.New("ssl_passphrase_command: the pass phrase is too long")
	}
	return line, nil
}

func (c phraseCommand) expand() string {
	return strings.NewReplacer("%%", "%", "%p", c.prompt).Replace(c.command)
}

// capped keeps the beginning of what is written to it.
type capped struct {
	data []byte
	room int
}

func (c *capped) Write(b []byte) (int, error) {
	part := b[:min(len(b), c.room)]
	c.data, c.room = append(c.data, part...), c.room-len(part)
	return len(b), nil
}
