package conf

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestTableHasEveryParameter compares the table with the parameters of Pgpool-II 4.7, one per line of a file.
func TestTableHasEveryParameter(t *testing.T) {
	text, err := os.ReadFile("testdata/parameters.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), " | ")
		if len(f) != 7 {
			t.Fatalf("malformed line %q", line)
		}
		name := strings.TrimSuffix(strings.TrimSuffix(f[0], "[N]"), "N")
		seen[name] = true
		compareRow(t, params().byName[name], f, name)
	}
	const all = 183
	if len(seen) != all {
		t.Errorf("%d parameters in the file, want %d", len(seen), all)
	}
	for _, p := range Params() {
		if p.Ours == seen[p.Name] {
			t.Errorf("%s: Ours = %v, in Pgpool-II: %v", p.Name, p.Ours, seen[p.Name])
		}
	}
}

func compareRow(t *testing.T, p *Param, f []string, name string) {
	t.Helper()
	if p == nil {
		t.Errorf("%s is missing", name)
		return
	}
	wantFamily := name != f[0]
	if (p.Family != NotNumbered) != wantFamily {
		t.Errorf("%s: numbered %v, want %v", name, !wantFamily, wantFamily)
	}
	wantContext := map[string]Context{"S": Start, "R": Reload, "P": Session}[f[1]]
	if tightened()[name] {
		wantContext = Start
	}
	if p.Context != wantContext {
		t.Errorf("%s: context %v, want %v", name, p.Context, wantContext)
	}
	if kinds := typesOf()[f[2]]; !strings.Contains(kinds, " "+p.Type.String()+",") {
		t.Errorf("%s: type %v, want one of %s", name, p.Type, kinds)
	}
	compareNumbers(t, p, f)
	if p.Unset != (f[6] == "unset") {
		t.Errorf("%s: Unset %v", name, p.Unset)
	}
}

// tightened are parameters Pgpool-II reads at a reload without acting on them; here they need the restart they need there.
func tightened() map[string]bool {
	return map[string]bool{
		"hostname": true, "wd_port": true, "pgpool_port": true, "wd_authkey": true,
		"heartbeat_hostname": true, "heartbeat_port": true, "heartbeat_device": true,
	}
}

func typesOf() map[string]string {
	return map[string]string{
		"bool": " boolean,", "int": " integer, time, size,", "long": " size, time,", "real": " real,", "enum": " enum,",
		"string": " string, file name, redirect list, object list,", "regex": " regex list,", "list": " list,", "flags": " flags,",
	}
}

// narrowed are parameters whose upper bound is ours: a longer time cannot be represented, a higher port does not exist.
func narrowed() map[string]int64 {
	return map[string]int64{
		"relcache_expire": maxSeconds, "log_rotation_age": maxMinutes,
		"memqcache_memcached_port": 65535, "wd_heartbeat_listen_port": 65535,
	}
}

func compareNumbers(t *testing.T, p *Param, f []string) {
	t.Helper()
	want := strings.TrimSuffix(strings.TrimSuffix(f[6], "-"), "unset")
	if f[4] == "-" {
		if p.Default != want {
			t.Errorf("%s: default %q, want %q", p.Name, p.Default, want)
		}
		return
	}
	if unit := strings.TrimSuffix(f[3], "-"); p.Unit != unit {
		t.Errorf("%s: unit %q, want %q", p.Name, p.Unit, unit)
	}
	least, most := number64(t, f[4]), number64(t, f[5])
	if n, ok := narrowed()[p.Name]; ok {
		most = n
	}
	if p.Min != least || p.Max != most {
		t.Errorf("%s: range %d .. %d, want %d .. %d", p.Name, p.Min, p.Max, least, most)
	}
	def, bad := p.scaled(p.Default)
	if bad != nil || def != number64(t, want) {
		t.Errorf("%s: default %q is %d, want %s", p.Name, p.Default, def, want)
	}
}

func number64(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRowsAreWellFormed(t *testing.T) {
	const longestDoc = 79
	for _, p := range Params() {
		if p.Doc == "" || len(p.Doc) > longestDoc || strings.HasSuffix(p.Doc, ".") {
			t.Errorf("%s: doc %q (%d characters)", p.Name, p.Doc, len(p.Doc))
		}
		if p.at == nil || p.Context == 0 || p.Type == 0 || p.Area == "" {
			t.Errorf("%s: incomplete row", p.Name)
		}
		if strings.Contains(p.Name, "password") && !p.Secret {
			t.Errorf("%s is shown", p.Name)
		}
	}
}

// TestPlacesAreDistinct writes each parameter alone and expects no other to change.
func TestPlacesAreDistinct(t *testing.T) {
	standard := Default()
	for _, p := range Params() {
		if p.Family != NotNumbered && !p.Family.inherits() {
			continue
		}
		c := *standard
		c.assigned = nil
		if _, bad := p.parse(&c, noIndex, otherValue(&p)); bad != nil {
			t.Errorf("%s: %v", p.Name, bad.text)
		}
		for _, q := range Params() {
			if q.Family != NotNumbered && !q.Family.inherits() {
				continue
			}
			changed := !sameValue(q.at(&c, noIndex), q.at(standard, noIndex))
			if changed != (q.Name == p.Name) {
				t.Errorf("setting %s: changed(%s) = %v", p.Name, q.Name, changed)
			}
		}
	}
}

// otherValue is one that is not the default.
func otherValue(p *Param) string {
	switch p.Type {
	case TypeBool:
		return map[string]string{"on": "off", "off": "on"}[p.Default]
	case TypeEnum:
		for _, e := range p.enum {
			if e.name != p.Default {
				return e.name
			}
		}
	case TypeInt, TypeMode, TypeDuration, TypeSize:
		n, _ := p.scaled(p.Default)
		if n+1 > p.Max {
			return strconv.FormatInt(n-1, 10)
		}
		return strconv.FormatInt(max(n+1, p.Min), 10)
	case TypeRedirects:
		return "a:primary"
	case TypeRelationships:
		return "a:b"
	case TypeNetworks:
		return "10.0.0.0/8"
	case TypeDestinations:
		return "syslog"
	case TypeReal, TypeFlags, TypeString, TypePath, TypeList, TypePatterns:
	}
	return "other"
}

func sameValue(a, b any) bool { return valueText(a) == valueText(b) }
