package main

import (
	"strings"
	"testing"
)

func TestParseOptions(t *testing.T) {
	base := Options{
		ConfigFile: "/conf/pgpool.conf", PcpFile: "/conf/pcp.conf", HbaFile: "/conf/pool_hba.conf", StopMode: StopSmart,
	}
	with := func(f func(*Options)) Options { o := base; f(&o); return o }
	tests := []struct {
		args string // space separated, "_" is an empty one
		want Options
	}{
		{"", base},
		{"-n", with(func(o *Options) { o.Foreground = true })},
		{"-nd", with(func(o *Options) { o.Foreground, o.Debug = true, true })},
		{"-nDCxd", with(func(o *Options) {
			o.Foreground, o.DiscardStatus, o.ClearOidmaps, o.DebugAssertions, o.Debug = true, true, true, true, true
		})},
		{"-f x.conf", with(func(o *Options) { o.ConfigFile = "/cwd/x.conf" })},
		{"-fx.conf", with(func(o *Options) { o.ConfigFile = "/cwd/x.conf" })},
		{"-nf x.conf", with(func(o *Options) { o.Foreground, o.ConfigFile = true, "/cwd/x.conf" })},
		{"-f=x", with(func(o *Options) { o.ConfigFile = "/cwd/=x" })},
		{"-f -n", with(func(o *Options) { o.ConfigFile = "/cwd/-n" })},
		{"-f --", with(func(o *Options) { o.ConfigFile = "/cwd/--" })},
		{"--config-file=/abs/x", with(func(o *Options) { o.ConfigFile = "/abs/x" })},
		{"--config-file ../x", with(func(o *Options) { o.ConfigFile = "/x" })},
		{"--conf x --hba y --pcp z --key k", with(func(o *Options) {
			o.ConfigFile, o.HbaFile, o.PcpFile, o.KeyFile = "/cwd/x", "/cwd/y", "/cwd/z", "/cwd/k"
		})},
		{"-a y -F z -k k", with(func(o *Options) { o.HbaFile, o.PcpFile, o.KeyFile = "/cwd/y", "/cwd/z", "/cwd/k" })},
		{"--dont --debug --disc --cl --debug-a", with(func(o *Options) {
			o.Foreground, o.Debug, o.DiscardStatus, o.ClearOidmaps, o.DebugAssertions = true, true, true, true, true
		})},
		{"-f a -f b", with(func(o *Options) { o.ConfigFile = "/cwd/b" })},
		{"stop", with(func(o *Options) { o.Command = CommandStop })},
		{"-m f stop", with(func(o *Options) { o.Command, o.StopMode = CommandStop, StopFast })},
		{"stop -mf", with(func(o *Options) { o.Command, o.StopMode = CommandStop, StopFast })},
		{"stop --mode=immediate", with(func(o *Options) { o.Command, o.StopMode = CommandStop, StopImmediate })},
		{"stop --mode slow", with(func(o *Options) { o.Command = CommandStop })},
		{"-- stop", with(func(o *Options) { o.Command = CommandStop })},
		{"reload -f x", with(func(o *Options) { o.Command, o.ConfigFile = CommandReload, "/cwd/x" })},
		{"-t", with(func(o *Options) { o.Command = CommandTest })},
		{"--test", with(func(o *Options) { o.Command = CommandTest })},
		{"-h", Options{Command: CommandHelp}},
		{"-?", Options{Command: CommandHelp}},
		{"--he", Options{Command: CommandHelp}},
		{"-n -v", Options{Command: CommandVersion}},
		{"--version", Options{Command: CommandVersion}},
	}
	for _, tt := range tests {
		got, err := parseOptions(strings.Fields(tt.args), "/cwd", "/conf")
		if err != nil {
			t.Errorf("%q: %v", tt.args, err)
			continue
		}
		if got.Command == CommandHelp || got.Command == CommandVersion {
			got = Options{Command: got.Command}
		}
		if got != tt.want {
			t.Errorf("%q:\ngot  %+v\nwant %+v", tt.args, got, tt.want)
		}
	}
}

func TestBadOptions(t *testing.T) {
	for args, want := range map[string]string{
		"-c":              "invalid option -- 'c'",
		"-nq":             "invalid option -- 'q'",
		"-":               `unknown command "-"`,
		"-f":              "option requires an argument -- 'f'",
		"-nm":             "option requires an argument -- 'm'",
		"--mode":          "option '--mode' requires an argument",
		"--nonsense":      "unrecognized option '--nonsense'",
		"--nonsense=1":    "unrecognized option '--nonsense=1'",
		"--d":             "option '--d' is ambiguous; possibilities: '--dont-detach' '--debug' '--discard-status' '--debug-assertions'",
		"--debug=1":       "option '--debug' doesn't allow an argument",
		"-m x stop":       `mode "x" is none of smart, fast, immediate`,
		"--mode= stop":    `mode "" is none of smart, fast, immediate`,
		"start":           `unknown command "start"`,
		"stop reload":     "only one command may be given",
		"stop stop":       "only one command may be given",
		"-t stop":         "--test and stop exclude each other",
		"-- -n":           `unknown command "-n"`,
		"-f a -n -- -- b": "only one command may be given",
	} {
		_, err := parseOptions(strings.Fields(args), "/cwd", "/conf")
		u, ok := asUsage(err)
		if !ok || u.text != want {
			t.Errorf("%q: got %v, want %s", args, err, want)
		}
	}
}

// A daemon that detaches is started with a command line made from the options; it must mean the same.
func TestStartArgs(t *testing.T) {
	for _, args := range []string{"", "-n", "-d -D -C -x -k key -f a -F b -a c", "-D", "agent -k key"} {
		o, err := parseOptions(strings.Fields(args), "/cwd", "/conf")
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseOptions(o.startArgs(), "/", "/elsewhere")
		if err != nil || again != o {
			t.Errorf("%q: got %+v, %v, want %+v", args, again, err, o)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("-nf x stop")
	f.Add("--conf=x --d -? -m f")
	f.Fuzz(func(t *testing.T, line string) {
		o, err := parseOptions(strings.Split(line, " "), "/cwd", "/conf")
		if err != nil {
			if _, ok := asUsage(err); !ok {
				t.Fatalf("%q: %v is no usage error: pflag saw something we did not", line, err)
			}
			return
		}
		if o.Command != CommandStart && o.Command != CommandAgent {
			return
		}
		o.StopMode = StopSmart // means nothing to a start
		if again, err := parseOptions(o.startArgs(), "/", "/"); err != nil || again != o {
			t.Fatalf("%q: %+v becomes %+v, %v", line, o, again, err)
		}
	})
}
