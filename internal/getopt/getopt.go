package getopt

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Parse parses args (without the program's name) into fs as getopt_long would: clusters of short options, values joined or separate,
// unique prefixes of long names, options and words in any order, "--" ending the options. It returns the words. Options are set in
// their order, up to the first that is wrong: that is the error, which has getopt's text without the program's name. The error of a
// flag's own Set is wrapped.
func Parse(fs *pflag.FlagSet, args []string) (words []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var opts []option
		switch {
		case arg == "--":
			return append(words, args...), nil
		case strings.HasPrefix(arg, "--"):
			opts, args, err = expandLong(fs, arg, args)
		case len(arg) > 1 && arg[0] == '-':
			opts, args, err = expandCluster(fs, arg[1:], args)
		default:
			words = append(words, arg)
		}
		for _, o := range opts {
			if err := fs.Set(o.name, o.value); err != nil {
				return nil, err
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return words, nil
}

// option is one option of the command line.
type option struct{ name, value string }

func takesValue(f *pflag.Flag) bool { return f.NoOptDefVal == "" }

// expandLong expands arg; rest is what follows and may begin with its value.
func expandLong(fs *pflag.FlagSet, arg string, rest []string) (opts []option, left []string, err error) {
	_, value, hasValue := strings.Cut(arg, "=")
	f, err := longOption(fs, arg)
	switch {
	case err != nil:
		return nil, nil, err
	case !takesValue(f) && hasValue:
		return nil, nil, fmt.Errorf("option '--%s' doesn't allow an argument", f.Name)
	case !takesValue(f):
		return []option{{f.Name, f.NoOptDefVal}}, rest, nil
	case !hasValue && len(rest) == 0:
		return nil, nil, fmt.Errorf("option '--%s' requires an argument", f.Name)
	case !hasValue:
		value, rest = rest[0], rest[1:]
	}
	return []option{{f.Name, value}}, rest, nil
}

// longOption finds a long option by its name or a prefix no other option shares.
func longOption(fs *pflag.FlagSet, arg string) (*pflag.Flag, error) {
	given, _, _ := strings.Cut(arg[2:], "=")
	if f := fs.Lookup(given); f != nil {
		return f, nil
	}
	var found []*pflag.Flag
	var names strings.Builder
	fs.VisitAll(func(f *pflag.Flag) {
		if strings.HasPrefix(f.Name, given) {
			found = append(found, f)
			fmt.Fprintf(&names, " '--%s'", f.Name)
		}
	})
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("unrecognized option '%s'", arg)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("option '%s' is ambiguous; possibilities:%s", arg, names.String())
}

// expandCluster expands the letters after one dash.
func expandCluster(fs *pflag.FlagSet, letters string, rest []string) (opts []option, left []string, err error) {
	for i := range len(letters) {
		f := fs.ShorthandLookup(letters[i : i+1])
		switch {
		case f == nil:
			return opts, nil, fmt.Errorf("invalid option -- '%s'", letters[i:i+1])
		case !takesValue(f):
			opts = append(opts, option{f.Name, f.NoOptDefVal})
			continue
		case i+1 < len(letters):
			return append(opts, option{f.Name, letters[i+1:]}), rest, nil
		case len(rest) == 0:
			return opts, nil, fmt.Errorf("option requires an argument -- '%s'", letters[i:i+1])
		}
		return append(opts, option{f.Name, rest[0]}), rest[1:], nil
	}
	return opts, rest, nil
}
