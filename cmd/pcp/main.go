package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gopgpool/pcp"
)

// version is set by the linker (-ldflags "-X main.version=...").
var version = "0.6.0"

// versionText begins with the release whose behaviour we follow: tools parse the first number.
func versionText(program string) string {
	return program + " (pgpool-II) 4.7.2 (gopgpool " + version + ")\n"
}

func main() {
	i := &invocation{stdout: os.Stdout, stderr: os.Stderr, user: currentUser, prompt: promptTerminal, getenv: os.Getenv}
	os.Exit(i.run(context.Background(), os.Args))
}

// invocation is one run of a program.
type invocation struct {
	stdout, stderr io.Writer
	user           func() (account, error)
	prompt         func(text string) (string, error)
	getenv         func(string) string
}

func (i *invocation) say(format string, args ...any) {
	_, _ = fmt.Fprintf(i.stderr, format, args...) // there is no other place to complain
}

// run returns the exit status; args[0] is the name of the program.
func (i *invocation) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		return 1
	}
	called, name := args[0], filepath.Base(args[0])
	if name == "pcp" {
		if len(args) < 2 || strings.HasPrefix(args[1], "-") {
			i.say("%s", overview())
			return 1
		}
		name = "pcp_" + strings.TrimPrefix(args[1], "pcp_")
		called, args = name, args[1:]
	}
	p := findProgram(name)
	if p == nil {
		i.say("%s is a invalid PCP utility\n", name)
		return 1
	}
	args = args[1:]
	if len(args) > 0 {
		switch args[0] {
		case "-?", "--help":
			i.say("%s", p.usage())
			return 0
		case "-V", "--version":
			i.say("%s", versionText(name))
			return 0
		}
	}
	o, err := parseOptions(p, args)
	if err != nil {
		return i.usageError(called, name, args, err)
	}
	for _, word := range o.ignored {
		i.say("%s: Warning: extra command-line argument \"%s\" ignored\n", name, word)
	}
	return i.execute(ctx, p, o)
}

// execute connects and has the command carried out.
func (i *invocation) execute(ctx context.Context, p *program, o options) int {
	err := i.talk(ctx, p, o)
	if err == nil {
		return 0
	}
	i.say("%s", errorText(err))
	return exitStatus(err, o.strict)
}

func (i *invocation) talk(ctx context.Context, p *program, o options) error {
	me, err := i.user()
	switch {
	case o.username != nil: // then nothing but the home directory may be missing
	case err != nil:
		return err
	default:
		o.username = &me.name
	}
	password, err := i.password(o, me)
	if err != nil {
		return err
	}
	client, err := connect(ctx, o, i.tracing(o))
	if err != nil {
		return err
	}
	defer client.Close() // nothing is left to say
	if err := client.Authenticate(ctx, *o.username, password); err != nil {
		return authenticationError{err}
	}
	text, err := p.command(ctx, client, o)
	if err != nil {
		return err
	}
	_, err = io.WriteString(i.stdout, text)
	return err
}

// tracing has -d print each packet and notice, and a switchover its phases.
func (i *invocation) tracing(o options) pcp.ClientOptions {
	if !o.debug && o.switchover {
		return pcp.ClientOptions{Notice: func(n pcp.Notice) { _, _ = fmt.Fprintf(i.stderr, "%s:  %s\n", n.Severity, n.Message) }}
	}
	if !o.debug {
		return pcp.ClientOptions{}
	}
	say := func(format string, args ...any) {
		_, _ = fmt.Fprintf(i.stdout, format, args...) // the output proper tells of a stdout that is closed
	}
	return pcp.ClientOptions{
		Trace: func(sent bool, typ byte, length int) {
			say("DEBUG: %s: tos=\"%c\", len=%d\n", map[bool]string{true: "send", false: "recv"}[sent], typ, length)
		},
		Notice: func(n pcp.Notice) {
			say("BACKEND %s:  %s\n", n.Severity, n.Message)
			if n.Detail != "" {
				say("DETAIL:  %s\n", n.Detail)
			}
		},
	}
}
