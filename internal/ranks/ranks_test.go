package ranks

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "gopgpool"

// rankOf is import order. A new package is added here and to docs/architecture.md in the same commit.
var rankOf = map[string]int{
	"conf": 0, "cluster": 0, "loop": 0, "pgwire": 0, "logging": 0,
	"auth": 1, "auth/outside": 1, "auth/proxyproto": 1, "tlsconf": 1, "replication/conninfo": 1, "proxy/stmt": 1, "proxy/vsession": 1, "proxy/meter": 1,
	"watchdog/machine": 1, "watchdog/disk": 1, "watchdog/mesh": 1, "watchdog/pulse": 1, "watchdog/lifecheck": 1,
	"watchdog/vip": 1, "watchdog/ipc": 1,
	"auth/ldap": 2, "auth/pam": 2, "auth/query": 2,
	"pool": 2, "health": 2, "failover": 2, "pcp": 2, "recovery": 2, "watchdog": 2,
	"agent": 2, "replication": 2, "syncguard": 2,
	"proxy/relcache": 3, "proxy/route": 3, "proxy/qcache": 3, "proxy/listen": 3, "proxy/show": 3,
	"proxy": 4, "web": 4,
}

// cmdRank is the rank of every program below cmd/.
const cmdRank = 5

// servesPrograms are the internal packages that programs may import, and which programs.
var servesPrograms = map[string][]string{
	"internal/pgcluster": {"cmd/pgpool_setup", "cmd/pgpool_demo", "cmd/watchdog_setup"},
	"internal/getopt":    {"cmd/pgpool", "cmd/pcp", "cmd/wd_cli", "cmd/pg_enc"},
	"internal/terminal":  {"cmd/pcp", "cmd/pg_enc"},
}

// pkg is one directory with Go files. Imports are those of this module, without its name.
type pkg struct {
	dir         string
	name        string
	comment     string
	imports     []string
	testImports []string
}

func rank(dir string) (int, bool) {
	if strings.HasPrefix(dir, "cmd/") {
		return cmdRank, true
	}
	r, ok := rankOf[dir]
	return r, ok
}

func isInternal(dir string) bool { return strings.HasPrefix(dir, "internal/") }

// problems judges one package.
func (p pkg) problems() []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, p.dir+": "+fmt.Sprintf(format, args...)) }
	if _, ok := rank(p.dir); !ok && !isInternal(p.dir) {
		add("has no rank: add it to the rank test and to docs/architecture.md")
	}
	for _, other := range p.imports {
		if why := p.forbids(other); why != "" {
			add("imports %s, %s", other, why)
		}
	}
	for _, other := range p.testImports {
		if why := p.forbids(other); why != "" && !isInternal(other) {
			add("its tests import %s, %s", other, why)
		}
	}
	opening := "Package " + p.name + " "
	if p.name == "main" {
		opening = "Command " + path.Base(p.dir) + " "
	}
	if !strings.HasPrefix(p.comment, opening) {
		add("no package comment that begins with %q", opening)
	}
	return found
}

// forbids tells why p may not import other; "" if it may.
func (p pkg) forbids(other string) string {
	switch {
	case isInternal(p.dir):
		return ""
	case isInternal(other):
		if slices.Contains(servesPrograms[other], p.dir) {
			return ""
		}
		return "which is for tests"
	}
	mine, _ := rank(p.dir)
	theirs, ok := rank(other)
	if ok && theirs < mine {
		return ""
	}
	return fmt.Sprintf("which is of rank %d, not below %d", theirs, mine)
}

func TestPackagesKeepTheirRanks(t *testing.T) {
	t.Parallel()
	packages := readPackages(t, repositoryRoot(t))
	if len(packages) < 5 {
		t.Fatalf("only %d packages found", len(packages))
	}
	for _, p := range packages {
		for _, problem := range p.problems() {
			t.Error(problem)
		}
	}
}

func TestProblemsAreFound(t *testing.T) {
	t.Parallel()
	doc := func(p pkg) pkg {
		p.name, p.comment = "x", "Package x owns nothing."
		return p
	}
	for _, tc := range []struct {
		name string
		p    pkg
		want string
	}{
		{"lower rank", doc(pkg{dir: "pool", imports: []string{"auth", "loop"}}), ""},
		{"own rank", doc(pkg{dir: "pool", imports: []string{"health"}}), "rank 2, not below 2"},
		{"higher rank", doc(pkg{dir: "conf", imports: []string{"proxy"}}), "rank 4, not below 0"},
		{"higher rank in a test", doc(pkg{dir: "conf", testImports: []string{"proxy"}}), "its tests import proxy"},
		{"harness in a test", doc(pkg{dir: "conf", testImports: []string{"internal/pgcluster"}}), ""},
		{"harness in the daemon", doc(pkg{dir: "proxy", imports: []string{"internal/pgcluster"}}), "for tests"},
		{"new package", doc(pkg{dir: "util"}), "has no rank"},
		{"no comment", pkg{dir: "conf", name: "conf", comment: "This is it."}, "no package comment"},
		{"program", pkg{dir: "cmd/p", name: "main", comment: "Command p runs.", imports: []string{"proxy"}}, ""},
		{"program with the harness", pkg{
			dir: "cmd/pgpool_demo", name: "main", comment: "Command pgpool_demo runs.", imports: []string{"internal/pgcluster"},
		}, ""},
	} {
		got := strings.Join(tc.p.problems(), "\n")
		if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

var tableRow = regexp.MustCompile("(?m)^\\| (\\d+) \\| `([a-z/_]+)`")

func TestArchitectureDocumentHasTheRanks(t *testing.T) {
	t.Parallel()
	root := repositoryRoot(t)
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]int{}
	for _, row := range tableRow.FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		documented[row[2]] = n
	}
	for _, p := range readPackages(t, root) {
		want, ok := rankOf[p.dir]
		if got, there := documented[p.dir]; ok && (!there || got != want) {
			t.Errorf("docs/architecture.md: no row with rank %d for %s", want, p.dir)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(documented)) {
		if _, ok := rankOf[dir]; !ok {
			t.Errorf("docs/architecture.md: %s has a rank there, none in the test", dir)
		}
	}
}

func repositoryRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return root
}

// readPackages reads all packages of the module; directories of another module, test data and hidden ones are left out.
func readPackages(t *testing.T, root string) []pkg {
	t.Helper()
	byDir := map[string]*pkg{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipForeign(root, file, entry.Name())
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		if byDir[dir] == nil {
			byDir[dir] = &pkg{dir: dir}
		}
		return byDir[dir].read(file)
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		if byDir[dir].name != "" {
			all = append(all, *byDir[dir])
		}
	}
	return all
}

func skipForeign(root, dir, name string) error {
	if dir == root {
		return nil
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	if err == nil || name == "testdata" || name[0] == '.' || name[0] == '_' {
		return fs.SkipDir
	}
	return nil
}

func (p *pkg) read(file string) error {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	if isIgnored(parsed) {
		return nil
	}
	test := strings.HasSuffix(file, "_test.go")
	if !test {
		p.name = parsed.Name.Name
		if parsed.Doc != nil && (p.comment == "" || filepath.Base(file) == "doc.go") {
			p.comment = parsed.Doc.Text()
		}
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		other, ours := strings.CutPrefix(imported, module+"/")
		if !ours || other == p.dir {
			continue
		}
		if test {
			p.testImports = append(p.testImports, other)
		} else {
			p.imports = append(p.imports, other)
		}
	}
	return nil
}

// isIgnored recognises a program for go run beside a package.
func isIgnored(file *ast.File) bool {
	for _, group := range file.Comments {
		for _, c := range group.List {
			if c.Text == "//go:build ignore" && c.Pos() < file.Package {
				return true
			}
		}
	}
	return false
}
