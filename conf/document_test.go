package conf

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
)

// TestDocumentsAreFresh fails when the table changed and "go generate ./conf" was not run.
func TestDocumentsAreFresh(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"../pgpool.conf.sample": WriteSample,
		"../docs/parameters.md": WriteReference,
	} {
		var want bytes.Buffer
		if err := write(&want); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s is stale, run go generate ./conf (%v)", name, err)
		}
	}
}

// TestSampleIsTheDefault reads the shipped sample, as it is and with every line in use.
func TestSampleIsTheDefault(t *testing.T) {
	text, err := os.ReadFile("../pgpool.conf.sample")
	if err != nil {
		t.Fatal(err)
	}
	if c, problems := load(string(text)); c == nil || len(problems) > 0 || len(c.assigned) > 0 {
		t.Errorf("as shipped: %v", problems)
	}
	var all strings.Builder
	lines := 0
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "#"); ok && len(rest) > 0 && isLetter(rest[0]) {
			all.WriteString(rest)
			lines++
		}
	}
	if lines != len(Params()) {
		t.Errorf("%d lines for %d parameters", lines, len(Params()))
	}
	c, problems := load(all.String())
	if c == nil || len(problems) > 0 {
		t.Fatalf("in use: %v", problems)
	}
	standard := defaultAt(mainFile)
	for _, p := range Params() {
		if p.Family != NotNumbered && !p.Family.inherits() {
			if _, ok := c.assigned[key{p.Name, 0}]; !ok {
				t.Errorf("%s0 is missing", p.Name)
			}
			continue
		}
		if _, ok := c.assigned[key{p.Name, noIndex}]; !ok || !sameValue(p.at(c, noIndex), p.at(standard, noIndex)) {
			t.Errorf("%s is %s, default %s", p.Name, c.show(&p, noIndex), standard.show(&p, noIndex))
		}
	}
}

// TestWatchdogSamples: the shipped clusters load without a word on each of their nodes, and the sample file's examples are the same.
func TestWatchdogSamples(t *testing.T) {
	two, three := 2, 3
	example := exampleLines()
	for name, nodes := range map[string]int{"two_nodes.conf": two, "three_nodes.conf": three} {
		text, err := os.ReadFile("../samples/watchdog/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for id := range nodes {
			m := memory{
				mainFile: "include '" + name + "'", "/etc/pgpool/" + name: string(text), "/etc/pgpool/pgpool_node_id": itoa(id),
			}
			c, problems := loadWith(mainFile, m.read)
			if c == nil || len(problems) > 0 {
				t.Fatalf("%s: %v", name, problems)
			}
			if w := &c.Watchdog; len(w.Nodes) != nodes || w.NodeID != id || w.IfUpCmd != "" || w.EnableConsensusWithHalfVotes != (nodes == two) {
				t.Errorf("%s: %+v", name, w)
			}
			for k, a := range c.assigned {
				if got := example[displayName(k)]; !a.mapped && k.name != "wd_authkey" && got != a.text {
					t.Errorf("%s = %q in %s, %q in the sample", displayName(k), a.text, name, got)
				}
			}
		}
	}
}

// exampleLines are the settings in the sample's example, by name.
func exampleLines() map[string]string {
	lines := make(map[string]string)
	for line := range strings.Lines(watchdogExample) {
		if rest, ok := strings.CutPrefix(line, "#   "); ok {
			name, value, _ := strings.Cut(strings.TrimSpace(rest), " = ")
			lines[name] = strings.Trim(value, "'")
		}
	}
	return lines
}

func TestReport(t *testing.T) {
	c, problems := load(twoNodes + "port = 5000 prot = 1 sr_check_password = 'secret' sr_check_period = 10")
	var b strings.Builder
	if err := c.Report(&b, problems); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"WARNING: " + mainFile + `:3: unrecognized configuration parameter "prot"`, "did you mean port?",
		"mode     streaming_replication", "backend  1 at b:5433, 75% of the reads, DISALLOW_TO_FAILOVER|ALWAYS_PRIMARY",
		"2 parameters", "port = 5000", "sr_check_password = *****", "0 errors, 1 warning\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	for _, unwanted := range []string{"secret", "sr_check_period"} {
		if strings.Contains(b.String(), unwanted) {
			t.Errorf("%q in\n%s", unwanted, b.String())
		}
	}
	b.Reset()
	c, problems = loadNode(2, "use_watchdog = on "+numberedNodes(3))
	if err := c.Report(&b, problems); err != nil || !strings.Contains(b.String(), "watchdog node 2 of 3, lease 10s, state in /var/lib/pgpool/wd_9000\n") {
		t.Errorf("report of a pgpool node (%v):\n%s", err, b.String())
	}
	b.Reset()
	c, problems = load("prot = 1\nport = 1")
	if err := c.Report(&b, problems); err != nil || c != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.HasPrefix(got, "ERROR: "+mainFile+":2: 1 is outside") || !strings.HasSuffix(got, "1 error, 1 warning\n") {
		t.Errorf("report of a bad file:\n%s", got)
	}
}

func TestEnumsPrintTheirNames(t *testing.T) {
	for got, want := range map[string]string{
		ModeRaw.String(): "raw", ProcessDynamic.String(): "dynamic", StrategyLazy.String(): "lazy", LevelDebug2.String(): "debug2",
		VerbosityTerse.String(): "terse", BackendMessagesVerbose.String(): "verbose", StandbyDelayNone.String(): "none",
		SyslogFacility(7).String(): "LOCAL7", LogJSON.String(): "json", OnWriteDmlAdaptive.String(): "dml_adaptive",
		TempTableOff.String(): "off", RelcacheLoadBalanceNode.String(): "load_balance_node", LifecheckExternal.String(): "external",
		MemqcacheMemcached.String(): "memcached", Level(99).String(): "99",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if TempTableOn.Effective() != TempTableCatalog || TempTableOff.Effective() != TempTableNone || TempTableTrace.Effective() != TempTableTrace {
		t.Error("old spellings of check_temp_table")
	}
}
