package sim

import (
	"bytes"
	"strings"
	"time"

	"gopgpool/watchdog/machine"
)

// Shipped makes the machine of package machine.
func Shipped(c machine.Config, img machine.Image, now time.Duration) (Machine, error) {
	return machine.New(c, img, now)
}

// Hunt runs seeds until one catches the mutant; a nil violation if none does.
func Hunt(m Mutant, build Make, seeds uint64) (seed uint64, v *Violation) {
	for seed = 1; seed <= seeds; seed++ {
		plan := NewPlan(seed)
		if m.plan != nil {
			m.plan(&plan)
		}
		if v := Run(plan, build, m, nil).Violation; v != nil {
			return seed, v
		}
	}
	return 0, nil
}

// Tail runs a plan again and returns the last lines of its trace.
func Tail(plan Plan, build Make, m Mutant, lines int) string {
	var log bytes.Buffer
	Run(plan, build, m, &log)
	all := strings.SplitAfter(log.String(), "\n")
	return strings.Join(all[max(0, len(all)-1-lines):], "")
}
