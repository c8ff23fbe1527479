package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gopgpool/agent"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/pgcluster"
	"gopgpool/logging"
)

// hostedData is an empty data directory of a user who may run servers.
func hostedData(t *testing.T) string {
	t.Helper()
	above, err := os.MkdirTemp("/tmp", "pgpool-agent-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(above) })
	dir := filepath.Join(above, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		for _, path := range []string{above, dir} {
			if err := os.Chown(path, 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

const sharedKey = "a key of more than sixteen bytes\n"

func TestProgramAgent(t *testing.T) {
	port, data := pgcluster.FreePort(t), hostedData(t)
	in := install(t, "ok", fmt.Sprintf("log_line_prefix = '%%p|'\nagent_listen_addresses = '127.0.0.1'\nagent_port = %d\nagent_data_directory = '%s'\nagent_key_file = 'key'\n", port, data))
	if code, _, stderr := in.run("-n", "agent"); code != exitFatal {
		t.Fatal("started without its key", code, stderr)
	}
	in.write("key", sharedKey)
	if err := os.Rename(data, data+"-away"); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := in.run("-n", "agent"); code != exitFatal || !strings.Contains(stderr, "agent_data_directory: open "+data+":") {
		t.Fatal("started without its data directory", code, stderr)
	}
	if err := os.Rename(data+"-away", data); err != nil {
		t.Fatal(err)
	}
	f := in.foreground("agent")
	f.expect(fmt.Sprintf("%d|LOG:  agent of %s listens on 127.0.0.1:%d", f.cmd.Process.Pid, data, port))
	f.expect("agent_fencing is off")
	f.expect("successfully started")
	if _, err := os.Stat(in.path(agentPidFile)); err != nil {
		t.Error(err)
	}
	p := &parts{live: conf.NewLive(&conf.Config{Agent: conf.Agent{KeyFile: in.path("key")}})}
	n := cluster.Node{Host: "127.0.0.1", Agent: ":" + strconv.Itoa(port)}
	ctx, cancel := context.WithTimeout(t.Context(), programTime)
	defer cancel()
	for _, key := range []string{sharedKey, "another key, of more than 16 bytes"} {
		h, err := p.host(n)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := h.Control(ctx); err != nil || c.Running || c.State != "" {
			t.Fatalf("%+v, %v", c, err)
		}
		if err := h.Renew(ctx, 5); err != nil {
			t.Fatal(err)
		}
		if err := h.Start(ctx, 4); !errors.Is(err, cluster.ErrOldTerm) {
			t.Fatal(err)
		}
		if again, err := p.host(n); err != nil || again != h {
			t.Fatal("another connection", err)
		}
		in.write("key", key)
		if key == sharedKey { // a line about a parameter is the last one of a reload: the key was read before
			text, err := os.ReadFile(in.path("pgpool.conf"))
			if err != nil {
				t.Fatal(err)
			}
			in.write("pgpool.conf", string(text)+"agent_lease_time = 77\n")
		}
		f.signal(syscall.SIGHUP)
		f.expect("reload config files.")
		if key == sharedKey {
			f.expect(`parameter "agent_lease_time" changed`)
		} else {
			f.expect("the agent has another key")
			p.hosts.forget()
		}
	}
	h, err := p.host(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Renew(ctx, 5); err != nil {
		t.Fatal("by the other key", err)
	}
	f.signal(syscall.SIGTERM)
	if code := f.exit(); code != exitOK {
		t.Error(code)
	}
	p.hosts.forget()
}

func TestHost(t *testing.T) {
	data := hostedData(t)
	p := &parts{live: conf.NewLive(&conf.Config{}), log: logging.Logger{}}
	for _, tc := range []struct {
		name  string
		node  cluster.Node
		local bool
	}{
		{"socket", cluster.Node{Host: "/tmp", DataDirectory: data}, true},
		{"loopback", cluster.Node{Host: "127.0.0.1", DataDirectory: data}, true},
		{"name of it", cluster.Node{Host: "localhost", DataDirectory: data}, true},
		{"nothing to act on", cluster.Node{Host: "localhost"}, false},
		{"not there", cluster.Node{Host: "localhost", DataDirectory: "/nowhere/data"}, false},
		{"elsewhere", cluster.Node{Host: "192.0.2.1", DataDirectory: data}, false},
		{"no such name", cluster.Node{Host: "nobody.invalid", DataDirectory: data}, false},
	} {
		h, err := p.host(tc.node)
		if _, ok := h.(*agent.Local); ok != tc.local || !tc.local && !errors.Is(err, cluster.ErrNeedsAgent) {
			t.Errorf("%s: %T, %v", tc.name, h, err)
		}
	}
	if h, err := p.host(cluster.Node{Host: "localhost", Agent: "h:1"}); h != nil || !errors.Is(err, agent.ErrNoCredentials) {
		t.Errorf("%v, %v", h, err)
	}
	for _, tc := range []struct{ host, agent, want string }{
		{"db1", ":9997", "db1:9997"}, {"db1", "x:1", "x:1"}, {"/run", ":9997", "localhost:9997"}, {"::1", ":9997", "[::1]:9997"},
	} {
		if got := agentAddress(cluster.Node{Host: tc.host, Agent: tc.agent}); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}
