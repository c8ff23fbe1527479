// Package check is the checklist's frame for the Go drivers: it runs checks and prints one line each.
package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Big is the size of a big value in bytes.
const Big = 8 << 20

// Check is one line of the checklist. Run returns the detail of its line.
type Check struct {
	Name string
	Run  func(ctx context.Context) (string, error)
}

// ErrMissing is wrapped by the error of a check whose feature the driver does not have.
var ErrMissing = errors.New("n/a")

// Missing tells what a driver does not have.
func Missing(what string) (string, error) { return what, ErrMissing }

// Main prints the version of a module with the argument -version, and else runs all checks, or those whose names are arguments.
func Main(module string, checks []Check) {
	wanted := os.Args[1:]
	if slices.Equal(wanted, []string{"-version"}) {
		fmt.Println(version(module))
		return
	}
	for _, c := range checks {
		if len(wanted) > 0 && !slices.Contains(wanted, c.Name) {
			continue
		}
		fmt.Println(c.Name, c.line())
	}
}

func (c Check) line() (line string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			if failure, is := r.(failure); is {
				line = "failed " + oneLine(string(failure))
				return
			}
			panic(r)
		}
	}()
	detail, err := c.Run(ctx)
	switch {
	case errors.Is(err, ErrMissing):
		return "n/a " + detail
	case err != nil:
		return "failed " + oneLine(err.Error())
	}
	return "ok " + oneLine(detail)
}

// failure is thrown by Must and Same and ends a check.
type failure string

// Must ends the check if there is an error.
func Must(err error, where ...any) {
	if err != nil {
		panic(failure(fmt.Sprint(append(where, " ", err)...)))
	}
}

// Same ends the check unless got is want.
func Same(got, want any, where ...any) {
	if !reflect.DeepEqual(got, want) {
		panic(failure(fmt.Sprintf("%v: %v, want %v", fmt.Sprint(where...), got, want)))
	}
}

// UntilCut asks until that fails: whoever ends a session may need a moment.
func UntilCut(ask func() error) error {
	for range 250 {
		if err := ask(); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	panic(failure("lives on"))
}

func oneLine(text string) string {
	line := strings.Join(strings.Fields(text), " ")
	return line[:min(len(line), 300)]
}

func version(module string) string {
	info, found := debug.ReadBuildInfo()
	if !found {
		return "?"
	}
	for _, m := range info.Deps {
		if m.Path == module {
			return strings.TrimPrefix(m.Version, "v")
		}
	}
	return "?"
}
