package main

import (
	"fmt"

	"gopgpool/conf"
)

// test checks the files and prints a report on standard output; the exit code says whether the daemon would start.
func (p *program) test(o Options) int {
	_, problems := p.load(o.ConfigFile)
	for _, problem := range problems {
		_, _ = fmt.Fprintf(p.stdout, "%s: %s\n", problem.Severity, problem)
	}
	if conf.Refused(problems) {
		return exitFatal
	}
	_, _ = fmt.Fprintf(p.stdout, "%s: ok\n", o.ConfigFile)
	return exitOK
}
