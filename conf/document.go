package conf

import (
	"io"
	"maps"
	"slices"
	"strings"
)

// WriteSample writes pgpool.conf.sample: every parameter, commented out, with its default. Of numbered ones it shows those
// with number 0, and an example where the default cannot be written.
func WriteSample(w io.Writer) error {
	r := reporter{w: w}
	r.printf("%s", sampleHead)
	for _, a := range areas() {
		r.printf("\n#%s\n# %s\n#%s\n\n", strings.Repeat("-", 77), a.title, strings.Repeat("-", 77))
		if a.example != "" {
			r.printf("%s\n", a.example)
		}
		for i := range a.rows {
			p := &a.rows[i]
			r.printf("#%s = %s\n", p.sampleName(), p.sampleValue())
			r.printf("%s# %s\n", strings.Repeat(" ", 8), p.Doc)
			if note := p.sampleNote(); note != "" {
				r.printf("%s# (%s)\n", strings.Repeat(" ", 8), note)
			}
		}
	}
	return r.err
}

const sampleHead = `# pgpool.conf: every parameter with its default. Generated from the parameter table.
#
# A line has the form  name = value. Text stands in single quotes, # begins a comment, and include 'file' takes in
# another file. Numbers may carry a unit: B kB MB GB TB, us ms s min h d. Numbered parameters belong to the node of that
# number. "restart" marks what a reload does not change, "session" what PGPOOL SET can change. "pgpool -t" checks this file.
`

func (p *Param) sampleName() string {
	if p.Family == NotNumbered || p.Family.inherits() {
		return p.Name
	}
	return p.Name + "0"
}

func (p *Param) sampleValue() string {
	value := p.Default
	if example := examples()[p.Name]; example != "" {
		value = example
	}
	switch p.Type {
	case TypeBool, TypeInt, TypeMode, TypeReal, TypeDuration, TypeSize, TypeEnum:
		if value == "" {
			break
		}
		return value
	case TypeString, TypePath, TypeList, TypePatterns, TypeRedirects, TypeRelationships, TypeFlags, TypeDestinations, TypeNetworks:
	}
	return "'" + value + "'"
}

// examples stand in the sample where a default says nothing.
func examples() map[string]string {
	return map[string]string{
		"backend_hostname": "localhost", "backend_port": "5432", "backend_weight": "1",
		"hostname": "localhost", "wd_port": "9000", "pgpool_port": "9999",
		"heartbeat_hostname": "localhost", "heartbeat_port": "9694",
	}
}

// sampleNote adds what is not obvious from the value.
func (p *Param) sampleNote() string {
	var notes []string
	switch p.Type {
	case TypeEnum:
		notes = append(notes, p.Allowed())
	case TypeInt, TypeDuration, TypeSize:
		if p.Unit != "" {
			notes = append(notes, "without unit: "+p.Unit)
		}
	case TypeBool, TypeMode, TypeReal, TypeString, TypePath, TypeList, TypePatterns, TypeRedirects, TypeRelationships, TypeFlags,
		TypeDestinations, TypeNetworks:
	}
	switch p.Context {
	case Start:
		notes = append(notes, "restart")
	case Session:
		notes = append(notes, "session")
	case Reload:
	}
	if p.Family.inherits() {
		notes = append(notes, "for all nodes; "+p.Name+"0 for node 0")
	}
	if p.Ours {
		notes = append(notes, "not in Pgpool-II")
	}
	return strings.Join(notes, "; ")
}

// WriteReference writes docs/parameters.md.
func WriteReference(w io.Writer) error {
	r := reporter{w: w}
	r.printf("%s", referenceHead)
	for _, a := range areas() {
		r.printf("\n## %s\n\n| Name | Allowed | Default | Change | Meaning |\n|---|---|---|---|---|\n", a.title)
		for i := range a.rows {
			a.rows[i].referenceRow(&r)
		}
	}
	r.printf("%s", oldNamesHead)
	for _, old := range slices.Sorted(maps.Keys(renamed())) {
		r.printf("| `%s` | taken as `%s` |\n", old, renamed()[old])
	}
	for _, old := range slices.Sorted(maps.Keys(removed())) {
		instead := "ignored"
		if now := removed()[old]; now != "" {
			instead += "; see `" + strings.Fields(now)[0] + "`"
		}
		r.printf("| `%s` | %s |\n", old, instead)
	}
	r.printf("%s", oldGroups)
	return r.err
}

func (p *Param) referenceRow(r *reporter) {
	name := p.Name
	switch p.Family {
	case NotNumbered:
	case FamilyHealthCheck, FamilyBackendTLS:
		name += "[N]"
	case FamilyBackend, FamilyAgent, FamilyWatchdog, FamilyHeartbeat:
		name += "N"
	}
	mark := ""
	if p.Ours {
		mark = " †"
	}
	value := "`" + p.Default + "`"
	if p.Default == "" {
		value = "empty"
	}
	r.printf("| `%s`%s | %s: %s | %s | %s | %s |\n", name, mark, p.Type, cell(p.Allowed()), cell(value), p.Context, cell(p.Doc))
}

// cell protects what would end a column.
func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

const referenceHead = `# Parameters

Generated from the parameter table in ` + "`conf`" + `. † marks parameters Pgpool-II does not have.

**Names** are case-sensitive. N is the number of a node: 0 to 127, for heartbeats 0 to 255. Health-check parameters without
a number hold for all nodes that have no value of their own.

**Change** says when a new value takes effect: "restart", "reload" (SIGHUP or ` + "`pgpool reload`" + `), or "reload, session": also
by ` + "`PGPOOL SET`" + `. A parameter that is no longer in the file returns to its default at a reload. A backend keeps its host and
port until a restart; a new one comes in as down.

**Values.** Text stands in single quotes. Booleans are on, off, true, false, yes, no, 1, 0 in any case. Numbers may be decimal,
octal with a leading 0 or hexadecimal with 0x, and may carry a unit: B, kB, MB, GB, TB for sizes and us, ms, s, min, h, d for
times; a number without unit counts in the unit shown. Regular expressions are POSIX extended ones, match without regard to case
and must match the whole text.

**Errors.** An unknown name is a warning. Any wrong value refuses the start; at a reload the old values stay, all of them.
` + "`pgpool -t`" + ` checks the files and prints what is wrong.
`

const oldNamesHead = `
## Names of older releases

Each is told by a warning. A name in use beats an old one.

| Old name | What happens |
|---|---|
`

const oldGroups = "| `backend_socket_dir` | taken as `backend_hostnameN` of the backends without one |\n" +
	"| `replication_mode` = on | taken as `backend_clustering_mode` = native_replication |\n" +
	"| `master_slave_mode`, `master_slave_sub_mode` | taken as `backend_clustering_mode` |\n" +
	"| `wd_hostname`, `wd_port`, `wd_heartbeat_port`, `other_pgpool_hostnameK`, `other_pgpool_portK`, `other_wd_portK`, " +
	"`heartbeat_destinationK`, `heartbeat_destination_portK`, `heartbeat_deviceK` | taken as numbered nodes; the number of a node " +
	"is its rank in the list of all nodes by host and watchdog port |\n"
