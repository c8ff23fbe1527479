package getopt

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

var errOdd = errors.New("odd")

// even is a flag that refuses what is longer than one letter.
type even struct{ s *string }

func (e even) String() string { return "" }
func (e even) Type() string   { return "word" }
func (e even) Set(v string) error {
	if len(v) > 1 {
		return errOdd
	}
	*e.s = v
	return nil
}

func flags(out io.Writer) func(args []string) error {
	var name, letter string
	var all, any bool
	fs := pflag.NewFlagSet("p", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.StringVarP(&name, "name", "n", "", "")
	fs.VarP(even{&letter}, "letter", "l", "")
	fs.BoolVarP(&all, "all", "a", false, "")
	fs.BoolVarP(&any, "any", "y", false, "")
	return func(args []string) error {
		words, err := Parse(fs, args)
		fmt.Fprintf(out, "%s/%s/%t/%t %q", name, letter, all, any, words)
		return err
	}
}

func TestParse(t *testing.T) {
	for args, want := range map[string]string{
		"":                 `//false/false []`,
		"-n x":             `x//false/false []`,
		"-nx":              `x//false/false []`,
		"-n=x":             `=x//false/false []`,
		"-n -a":            `-a//false/false []`,
		"-n --":            `--//false/false []`,
		"-aynx":            `x//true/true []`,
		"w -a v":           `//true/false ["w" "v"]`,
		"w -- -a":          `//false/false ["w" "-a"]`,
		"-":                `//false/false ["-"]`,
		"--name=x=y":       `x=y//false/false []`,
		"--na x":           `x//false/false []`,
		"--name= --al":     `//true/false []`,
		"-n a -n b -l c":   `b/c/false/false []`,
		"--letter c --any": `/c/false/true []`,
	} {
		var got strings.Builder
		if err := flags(&got)(strings.Fields(args)); err != nil || got.String() != want {
			t.Errorf("%q: %s, %v, want %s", args, got.String(), err, want)
		}
	}
}

// What stands before a wrong option is set.
func TestParseErrors(t *testing.T) {
	for args, want := range map[string]string{
		"-ayq":        "true/true: invalid option -- 'q'",
		"-an":         "true/false: option requires an argument -- 'n'",
		"-a --name":   "true/false: option '--name' requires an argument",
		"--all=1 -y":  "false/false: option '--all' doesn't allow an argument",
		"--nope":      "false/false: unrecognized option '--nope'",
		"--nope=1":    "false/false: unrecognized option '--nope=1'",
		"--a":         "false/false: option '--a' is ambiguous; possibilities: '--all' '--any'",
		"--a=1":       "false/false: option '--a=1' is ambiguous; possibilities: '--all' '--any'",
		"--=1":        "false/false: option '--=1' is ambiguous; possibilities: '--name' '--letter' '--all' '--any'",
		"-\xe9":       "false/false: invalid option -- '\xe9'",
		"-a -l xy -q": "true/false: odd",
	} {
		var got strings.Builder
		err := flags(&got)(strings.Fields(args))
		if err == nil {
			t.Errorf("%q: no error", args)
			continue
		}
		if errors.Is(err, errOdd) {
			err = errOdd
		}
		text := strings.TrimPrefix(strings.TrimSuffix(got.String(), " []"), "//") + ": " + err.Error()
		if text != want {
			t.Errorf("%q: %s, want %s", args, text, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, args := range []string{"", "-n x -ayq", "--a", "--name= w -- -a", "-l\x00xy"} {
		f.Add(args)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		var got strings.Builder
		before := slices.Clone(args)
		_ = flags(&got)(args) // must not panic
		if !slices.Equal(args, before) {
			t.Errorf("%q was changed to %q", before, args)
		}
	})
}
