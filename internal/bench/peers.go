package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// programs are the paths of what is compared.
type programs struct {
	pgbouncer, pgpool2, gopgpool string
}

// ensurePeers installs the packages whose program is missing. Without root it says what to type.
func ensurePeers(ctx context.Context, p programs) error {
	var missing []string
	for _, peer := range []struct{ path, pkg string }{{p.pgbouncer, "pgbouncer"}, {p.pgpool2, "pgpool2"}} {
		if _, err := exec.LookPath(peer.path); err != nil {
			missing = append(missing, peer.pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	command := append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, missing...)
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing: %s; as root: %s", strings.Join(missing, ", "), strings.Join(command, " "))
	}
	return installQuietly(ctx, command)
}

// policyFile is asked by Debian's packages before they start a service; 101 means no.
const policyFile = "/usr/sbin/policy-rc.d"

// installQuietly installs packages without letting them start their services. A policy that is there stays, whatever it
// says; it is the administrator's word.
func installQuietly(ctx context.Context, command []string) error {
	if _, err := os.Stat(policyFile); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(policyFile, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
			return err
		}
		defer os.Remove(policyFile)
	}
	if err := apt(ctx, command); err == nil {
		return nil
	}
	if err := apt(ctx, []string{"apt-get", "update"}); err != nil { // the lists may be missing or old
		return err
	}
	return apt(ctx, command)
}

func apt(ctx context.Context, command []string) error {
	fmt.Println("$", strings.Join(command, " "))
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
	}
	return nil
}

// version is the first line a program prints about itself.
func version(ctx context.Context, program string) string {
	out, err := exec.CommandContext(ctx, program, "--version").CombinedOutput() // Pgpool-II tells stderr
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil && line == "" {
		return "none: " + err.Error()
	}
	return line
}
