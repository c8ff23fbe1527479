package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"gopgpool/conf"
	"gopgpool/watchdog/ipc"
)

// version is set by the linker (-ldflags "-X main.version=...").
var version = "0.6.0"

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	i := &invocation{stdout: os.Stdout, stderr: os.Stderr, pid: os.Getpid()}
	status := i.run(ctx, os.Args)
	cancel()
	os.Exit(status)
}

// invocation is one run of the program.
type invocation struct {
	stdout, stderr io.Writer
	pid            int
}

func (i *invocation) say(format string, args ...any) {
	_, _ = fmt.Fprintf(i.stderr, format, args...) // there is no other place to complain
}

func (i *invocation) debug(o options, w io.Writer, format string, args ...any) {
	if o.debug {
		_, _ = fmt.Fprintf(w, "DEBUG: "+format+"\n", args...) // the output proper tells of a stdout that is closed
	}
}

// run returns the exit status; args[0] is the name of the program.
func (i *invocation) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		return 1
	}
	called, name := args[0], filepath.Base(args[0])
	o, err := parseOptions(args[1:])
	if err == nil {
		err = i.configure(&o)
	}
	if err == nil {
		err = i.execute(ctx, o)
	}
	var value valueError
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errHelp):
		i.say("%s", helpText())
		return 0
	case errors.Is(err, errVersion):
		i.say("%s (pgpool-II) 4.7.2 (gopgpool %s)\n", name, version)
		return 0
	case errors.As(err, &usage):
		i.say("%s: %v\nTry \"%s --help\" for more information.\n\n", called, usage.err, name)
	case errors.As(err, &value):
		i.say("ERROR: %s\n", value.text)
	default:
		i.say("%s", i.errorText(err))
	}
	return 1
}

var errNoConfiguration error = valueError{"Unable to get configuration. Exiting...\n"}

// configure takes what the command line leaves out from the file that it names.
func (i *invocation) configure(o *options) error {
	if o.file == "" {
		return nil
	}
	if _, err := os.Stat(o.file); err != nil {
		i.say("WARNING: pid %d: could not open configuration file: \"%s\"\n", i.pid, o.file)
		return errNoConfiguration
	}
	c, problems := conf.Load(o.file)
	if k := slices.IndexFunc(problems, func(p conf.Problem) bool { return p.Severity == conf.Error }); k >= 0 {
		i.say("WARNING: pid %d: %v\n", i.pid, problems[k])
		return errNoConfiguration
	}
	w := &c.Watchdog
	if o.port == 0 && (w.NodeID < 0 || w.NodeID >= len(w.Nodes)) {
		return valueError{"no watchdog is configured in " + quote(o.file)}
	}
	if o.dir == "" {
		o.dir = w.WdIpcSocketDir
	}
	if o.port == 0 {
		o.port = w.Nodes[w.NodeID].WdPort
	}
	if o.key == nil {
		o.key = &w.WdAuthkey
	}
	i.debug(*o, i.stdout, "From config %s:%d", o.dir, o.port)
	return nil
}

// execute finds the nodes, and prints them or reports on the first of them.
func (i *invocation) execute(ctx context.Context, o options) error {
	if o.dir == "" {
		o.dir = defaultDir
	}
	if o.port == 0 {
		o.port = defaultPort
	}
	key := ""
	if o.key != nil {
		key = *o.key
	}
	i.debug(o, i.stderr, "setting IPC address to %s:%d", o.dir, o.port)
	i.debug(o, i.stderr, "OPERATION:%q ALL NODE CRITERIA = %s", o.operation(), strings.ToUpper(fmt.Sprint(o.all)))
	i.debug(o, i.stderr, "Search criteria:%s", o.search)

	client := ipc.NewClient(o.dir, o.port, key)
	state, document, err := client.Nodes(ctx, ipc.AllNodes)
	if err != nil {
		return listError{err}
	}
	if o.debug {
		_, _ = fmt.Fprintf(i.stdout, "DEBUG:************\n%s\n************\n", document)
	}
	if o.info && !o.all && o.search.empty() {
		i.say("WARNING: Missing node search criteria. applying --all option\n")
		o.all = true
	}
	nodes := state.Nodes
	if !o.all {
		found := o.search.first(nodes)
		if found == nil {
			return valueError{"unable to find the node with the requested criteria\nCriteria:" + o.search.String()}
		}
		nodes = []ipc.Node{*found}
	}
	if o.info {
		_, err := io.WriteString(i.stdout, formatNodes(len(state.Nodes), nodes, o.verbose))
		return err
	}
	return i.inform(ctx, client, o, nodes[0].ID)
}

// inform reports on a node. The lines run into each other as the original's do.
func (i *invocation) inform(ctx context.Context, client *ipc.Client, o options, node int) error {
	status, message := "ALIVE", "(null)"
	if o.dead {
		status = "DEAD"
	}
	if o.message != "" {
		message = o.message
	}
	i.say("INFO: informing the node status change to watchdog")
	i.say("INFO: node id :%d status = \"NODE %s\" message:\"%s\"", node, status, message)
	if err := client.StatusChange(ctx, node, o.dead, o.message); err != nil {
		i.say("\n")
		return informError{node, err}
	}
	i.say("INFO: informed watchdog about node id %d is %s\n", o.search.id, strings.ToLower(status))
	return nil
}
