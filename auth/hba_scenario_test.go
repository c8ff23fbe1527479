package auth

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the answers of testdata/hba as they are now")

// TestHBAScenarios plays testdata/hba. A file has blocks: a command, its input, four hyphens, the answer; then an empty
// line.
//
//	file PATH       a file in the world, below /etc if PATH is relative; no answer
//	ident           a pool_ident.conf; the answer is how it is understood, or its errors
//	hba [nopam]     a pool_hba.conf with the last pool_ident.conf; the answer likewise, with notices
//	match           one client a line: user database local|ADDRESS [tls] [names=] [net=] [roles=]; the answer is the
//	                record that decides and what must be gathered before
//	allows          one question a line: map name role [roles=]
//
// \s in a name is a blank, \n a line's end, - an empty name. In errors of this very file the path is left out.
func TestHBAScenarios(t *testing.T) {
	paths, err := filepath.Glob("testdata/hba/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := (&hbaScenario{t: t, files: files{}}).play(string(data))
			switch {
			case got == string(data):
			case *update:
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				compareLines(t, got, string(data))
			}
		})
	}
}

func compareLines(t *testing.T, got, want string) {
	t.Helper()
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range gotLines {
		if i >= len(wantLines) || gotLines[i] != wantLines[i] {
			t.Fatalf("line %d:\n got %s\nwant %s", i+1, gotLines[i], wantLines[min(i, len(wantLines)-1)])
		}
	}
	t.Fatalf("%d lines, want %d", len(gotLines), len(wantLines))
}

type hbaScenario struct {
	t      *testing.T
	files  files
	rules  *Rules
	idents *Idents
}

const (
	hbaPath   = "/etc/pool_hba.conf"
	identPath = "/etc/pool_ident.conf"
)

// play gives the text with the answers as they are.
func (s *hbaScenario) play(text string) string {
	var out, input []string
	command, answering := "", false
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case answering && line != "":
			continue
		case answering, command == "":
			command, answering = line, false
			if strings.HasPrefix(line, "#") {
				command = ""
			}
		case line == "----":
			out = append(out, line)
			out = append(out, s.run(strings.Fields(command), input)...)
			answering, input = true, nil
			continue
		default:
			input = append(input, line)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n") + "\n"
}

func (s *hbaScenario) run(command, input []string) (answer []string) {
	text := []byte(strings.Join(input, "\n") + "\n")
	switch command[0] {
	case "file":
		s.files[beside(hbaPath, command[1])] = string(text)
	case "ident":
		var errs []error
		s.idents, errs = ParseIdent(identPath, text, s.files.world())
		for _, r := range s.idents.List() {
			answer = append(answer, place(r.File, r.Line)+r.String())
		}
		return append(answer, problems(errs)...)
	case "hba":
		var errs []error
		s.rules, errs = ParseHBA(hbaPath, text, s.files.world(), HBAOptions{NoPAM: len(command) > 1, Idents: s.idents})
		for _, r := range s.rules.List() {
			answer = append(answer, place(r.File, r.Line)+r.String())
		}
		for _, n := range s.rules.Notices(false, false) {
			answer = append(answer, place(n.File, n.Line)+"NOTICE "+n.Text)
		}
		return append(answer, problems(errs)...)
	case "match":
		for _, line := range input {
			answer = append(answer, s.match(line))
		}
	case "allows":
		for _, line := range input {
			f := s.words(line)
			roles, _ := valueOf(f, "roles")
			answer = append(answer, fmt.Sprintf("%-5t %s", s.idents.Allows(f[0], f[1], f[2], roles...), line))
		}
	default:
		s.t.Fatalf("unknown command %q", command[0])
	}
	return answer
}

func place(file string, line int) string {
	if file == hbaPath || file == identPath {
		return fmt.Sprintf("%d: ", line)
	}
	return fmt.Sprintf("%s:%d: ", file, line)
}

func problems(errs []error) (list []string) {
	for _, err := range errs {
		e := err.(*HBAError) //nolint:errorlint,forcetypeassert // promised
		list = append(list, place(e.File, e.Line)+"ERROR "+e.Text)
	}
	return list
}

func (s *hbaScenario) words(line string) []string {
	f := strings.Fields(line)
	if len(f) < 3 {
		s.t.Fatalf("too few words in %q", line)
	}
	for i := range f {
		if f[i] == "-" {
			f[i] = ""
		}
		f[i] = strings.NewReplacer(`\s`, " ", `\n`, "\n").Replace(f[i])
	}
	return f
}

// valueOf gives the list behind name= ; not nil if there is one.
func valueOf(words []string, name string) ([]string, bool) {
	for _, w := range words {
		if value, ok := strings.CutPrefix(w, name+"="); ok {
			return strings.FieldsFunc(value, func(r rune) bool { return r == ',' }), true
		}
	}
	return nil, false
}

func (s *hbaScenario) match(line string) string {
	f := s.words(line)
	c := Client{Local: f[2] == "local"}
	if !c.Local {
		c.Addr = netip.MustParseAddr(f[2])
	}
	for _, w := range f[3:] {
		c.TLS = c.TLS || w == "tls"
	}
	c.Names, _ = valueOf(f, "names")
	c.Roles, _ = valueOf(f, "roles")
	nets, _ := valueOf(f, "net")
	for _, n := range nets {
		c.Interfaces = append(c.Interfaces, netip.MustParsePrefix(n))
	}
	rule, reason := s.rules.Match(c, f[1], f[0])
	decides := "none"
	if reason.Verdict == Matched {
		decides = place(rule.File, rule.Line) + rule.Method.String()
	}
	var needs []string
	for name, needed := range neededFacts(s.rules.Needs(c, f[1], f[0])) {
		if needed {
			needs = append(needs, name)
		}
	}
	if len(needs) > 0 {
		decides += " (needs " + strings.Join(needs, ", ") + ")"
	}
	return fmt.Sprintf("%-24s %s", decides, line)
}

func neededFacts(n Needs) func(func(string, bool) bool) {
	return func(yield func(string, bool) bool) {
		_ = yield("names", n.Names) && yield("interfaces", n.Interfaces) && yield("roles", n.Roles)
	}
}
