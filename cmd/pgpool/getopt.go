package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// parseGetopt parses args (without the program's name) into fs as getopt_long would: clusters of short options, values
// joined or separate, unique prefixes of long names, options and words in any order, "--" ending the options. It returns
// the words. Errors have getopt's texts, without the program's name.
func parseGetopt(fs *pflag.FlagSet, args []string) ([]string, error) {
	plain, err := expandOptions(fs, args)
	if err != nil {
		return nil, err
	}
	if err := fs.Parse(plain); err != nil {
		return nil, err
	}
	return fs.Args(), nil
}

// expandOptions rewrites every option as --name or --name=value, which leaves pflag nothing to interpret its own way.
func expandOptions(fs *pflag.FlagSet, args []string) ([]string, error) {
	var options, words []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var opts []string
		var err error
		switch {
		case arg == "--":
			words = append(words, args...)
			args = nil
		case strings.HasPrefix(arg, "--"):
			opts, args, err = expandLong(fs, arg, args)
		case len(arg) > 1 && arg[0] == '-':
			opts, args, err = expandCluster(fs, arg[1:], args)
		default:
			words = append(words, arg)
		}
		if err != nil {
			return nil, err
		}
		options = append(options, opts...)
	}
	return append(append(options, "--"), words...), nil
}

func takesValue(f *pflag.Flag) bool { return f.NoOptDefVal == "" }

// expandLong expands arg; rest is what follows and may begin with its value.
func expandLong(fs *pflag.FlagSet, arg string, rest []string) (opts, left []string, err error) {
	given, value, hasValue := strings.Cut(arg[2:], "=")
	f, err := longOption(fs, given)
	switch {
	case err != nil:
		return nil, nil, err
	case !takesValue(f) && hasValue:
		return nil, nil, fmt.Errorf("option '--%s' doesn't allow an argument", f.Name)
	case !takesValue(f):
		return []string{"--" + f.Name}, rest, nil
	case !hasValue && len(rest) == 0:
		return nil, nil, fmt.Errorf("option '--%s' requires an argument", f.Name)
	case !hasValue:
		value, rest = rest[0], rest[1:]
	}
	return []string{"--" + f.Name + "=" + value}, rest, nil
}

// longOption finds a long option by its name or a prefix no other option shares.
func longOption(fs *pflag.FlagSet, given string) (*pflag.Flag, error) {
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
	switch {
	case len(found) == 0 || given == "":
		return nil, fmt.Errorf("unrecognized option '--%s'", given)
	case len(found) > 1:
		return nil, fmt.Errorf("option '--%s' is ambiguous; possibilities:%s", given, names.String())
	}
	return found[0], nil
}

// expandCluster expands the letters after one dash.
func expandCluster(fs *pflag.FlagSet, letters string, rest []string) (opts, left []string, err error) {
	for i := range len(letters) {
		f := fs.ShorthandLookup(letters[i : i+1])
		switch {
		case f == nil:
			return nil, nil, fmt.Errorf("invalid option -- '%s'", letters[i:i+1])
		case !takesValue(f):
			opts = append(opts, "--"+f.Name)
			continue
		case i+1 < len(letters):
			return append(opts, "--"+f.Name+"="+letters[i+1:]), rest, nil
		case len(rest) == 0:
			return nil, nil, fmt.Errorf("option requires an argument -- '%s'", letters[i:i+1])
		}
		return append(opts, "--"+f.Name+"="+rest[0]), rest[1:], nil
	}
	return opts, rest, nil
}
