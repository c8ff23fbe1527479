package main

import (
	"errors"

	"github.com/spf13/pflag"

	"gopgpool/internal/getopt"
)

// options is the command line of either program.
type options struct {
	keyFile      string // -k
	key          string // -K
	promptForKey bool   // -P
	prompt       bool   // -p
	store        bool   // -m: write to pool_passwd instead of stdout
	username     string // -u
	configFile   string // -f
	inputFile    string // -i
	words        []string
}

var (
	errHelp       = errors.New("help")
	errNoTerminal = errors.New("stdin is not tty")
	errNoKey      = errors.New("encryption key not provided")
	errNoConfig   = errors.New("Unable to get configuration. Exiting...\n") //nolint:staticcheck // the text scripts know
)

// optionError is an option that is not understood, which is no failure: exit status 0, with the usage on stdout.
type optionError struct{ error }

// usageError is a failure that comes with the usage, on stderr; the text may be empty.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// encFlags are the options of pg_enc, in the order in which ambiguous ones are listed.
func encFlags(o *options) *pflag.FlagSet {
	fs := newFlags("pg_enc")
	commonFlags(fs, o)
	fs.StringVarP(&o.keyFile, "key-file", "k", "", "")
	fs.StringVarP(&o.key, "enc-key", "K", "", "")
	fs.BoolVarP(&o.promptForKey, "prompt-for-key", "P", false, "")
	fs.BoolVarP(&o.store, "update-pass", "m", false, "")
	return fs
}

func md5Flags(o *options) *pflag.FlagSet {
	fs := newFlags("pg_md5")
	commonFlags(fs, o)
	fs.BoolVarP(&o.store, "md5auth", "m", false, "")
	return fs
}

func newFlags(name string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SortFlags = false
	return fs
}

func commonFlags(fs *pflag.FlagSet, o *options) {
	fs.BoolFuncP("help", "h", "", func(string) error { return errHelp })
	fs.BoolVarP(&o.prompt, "prompt", "p", false, "")
	fs.StringVarP(&o.username, "username", "u", "", "")
	fs.StringVarP(&o.configFile, "config-file", "f", "", "")
	fs.StringVarP(&o.inputFile, "input-file", "i", "", "")
}

// parse reads the arguments.
func parse(flags func(*options) *pflag.FlagSet, args []string) (o options, err error) {
	o.words, err = getopt.Parse(flags(&o), args)
	switch {
	case errors.Is(err, errHelp):
		return o, errHelp
	case err != nil:
		return o, optionError{err}
	case len(o.username) > maxUsername:
		return o, errUsername
	}
	return o, nil
}

// errUsername is not told as an error of usage: what comes after the text is an empty line only.
var errUsername = errors.New("Error: input exceeds maximum username length!\n") //nolint:staticcheck // the text scripts know

// status tells the error and returns the exit status.
func (i *invocation) status(err error) int {
	var option optionError
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errHelp):
		i.printf("%s", i.usage())
		return 0
	case errors.As(err, &option):
		i.say("%s: %s\n", i.called, option)
		i.printf("%s", i.usage())
		return 0
	case errors.As(err, &usage):
		if usage.text != "" {
			i.say("%s\n\n", usage.text)
		}
		i.say("%s", i.usage())
	default:
		i.say("%s\n", err)
	}
	return 1
}
