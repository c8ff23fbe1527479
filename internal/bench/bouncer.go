package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// bouncer is a PgBouncer: what to call, and what it says it is.
type bouncer struct {
	argv    []string
	version string
}

// preparesPooled tells whether it knows prepared statements in transaction mode, which came with 1.21.
func (b bouncer) preparesPooled() bool {
	m := regexp.MustCompile(`PgBouncer (\d+)\.(\d+)`).FindStringSubmatch(b.version)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1]) // digits, as the expression says
	minor, _ := strconv.Atoi(m[2])
	return major > 1 || major == 1 && minor >= 21
}

// pooledBouncer is the PgBouncer that transaction mode is compared with: the installed one if it is new enough, else one of
// a later Debian release, kept in dir with the libraries it was built for. When there is none to be had, the installed one
// and the reason.
func pooledBouncer(ctx context.Context, installed, dir string) (bouncer, error) {
	b := bouncer{argv: []string{installed}, version: version(ctx, installed)}
	if b.preparesPooled() {
		return b, nil
	}
	later, err := laterBouncer(ctx, dir)
	if err != nil {
		return b, err
	}
	return later, nil
}

// laterRelease is where a newer PgBouncer comes from, and laterPackages what is taken of it: the program and the libraries
// it names that differ from those of the release before.
const laterRelease = "trixie"

func laterPackages() []string {
	return []string{"pgbouncer", "libc6", "libcares2", "libevent-2.1-7t64", "libssl3t64", "libpam0g", "libsystemd0"}
}

// laterBouncer fetches it unless dir has it already.
func laterBouncer(ctx context.Context, dir string) (bouncer, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return bouncer{}, err
	}
	root := filepath.Join(dir, "root")
	b := bouncer{argv: laterCommand(root)}
	if b.version = b.ask(ctx); b.preparesPooled() {
		return b, nil
	}
	if err := fetchLater(ctx, dir, root); err != nil {
		return bouncer{}, fmt.Errorf("PgBouncer of Debian's %s: %w", laterRelease, err)
	}
	if b.version = b.ask(ctx); !b.preparesPooled() {
		return bouncer{}, fmt.Errorf("PgBouncer of Debian's %s does not run here: %s", laterRelease, b.version)
	}
	return b, nil
}

// laterCommand runs the program by the loader and the C library of its own release.
func laterCommand(root string) []string {
	libraries := filepath.Join(root, "usr", "lib", multiarch())
	loader := "ld-linux-x86-64.so.2"
	if runtime.GOARCH == "arm64" {
		loader = "ld-linux-aarch64.so.1"
	}
	return []string{filepath.Join(libraries, loader), "--library-path", libraries, filepath.Join(root, "usr", "sbin", "pgbouncer")}
}

func multiarch() string {
	if runtime.GOARCH == "arm64" {
		return "aarch64-linux-gnu"
	}
	return "x86_64-linux-gnu"
}

func (b bouncer) ask(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, b.argv[0], append(b.argv[1:], "--version")...).CombinedOutput()
	if err != nil {
		return "none: " + err.Error()
	}
	return firstLines(string(out), 1)
}

// debianKeyring is what the release's lists are signed with.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// aptRoot writes the configuration of an apt that has its lists and files in dir and leaves the machine's alone.
func aptRoot(dir string) (config string, err error) {
	for _, sub := range []string{"lists/partial", "cache/archives/partial", "root"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return "", err
		}
	}
	sources := filepath.Join(dir, "sources.list")
	config = filepath.Join(dir, "apt.conf")
	return config, errors.Join(
		os.WriteFile(sources, fmt.Appendf(nil, "deb [signed-by=%s] http://deb.debian.org/debian %s main\n", debianKeyring, laterRelease), 0o644),
		os.WriteFile(config, fmt.Appendf(nil, `Dir::Etc::SourceList "%s";
Dir::Etc::SourceParts "-";
Dir::State::Lists "%s";
Dir::Cache "%s";
APT::Sandbox::User "";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Languages "none";
`, sources, filepath.Join(dir, "lists"), filepath.Join(dir, "cache")), 0o644),
	)
}

// fetchLater downloads the packages and unpacks them below root; nothing is installed.
func fetchLater(ctx context.Context, dir, root string) error {
	fmt.Printf("fetching a PgBouncer of Debian's %s into %s\n", laterRelease, dir)
	config, err := aptRoot(dir)
	if err != nil {
		return err
	}
	debs, err := os.MkdirTemp(dir, "debs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(debs)
	for _, args := range [][]string{{"update"}, append([]string{"download"}, laterPackages()...)} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Dir = debs
		cmd.Env = append(os.Environ(), "APT_CONFIG="+config)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", strings.Join(args, " "), err, firstLines(string(out), 3))
		}
	}
	names, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if out, err := exec.CommandContext(ctx, "dpkg", "-x", name, root).CombinedOutput(); err != nil {
			return fmt.Errorf("dpkg -x %s: %w: %s", filepath.Base(name), err, firstLines(string(out), 3))
		}
	}
	return nil
}
