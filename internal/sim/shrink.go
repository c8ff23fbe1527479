package sim

import (
	"slices"
	"strings"
)

// Like reports whether two violations are of one kind: they differ in numbers at most.
func (v *Violation) Like(o *Violation) bool {
	return v == nil && o == nil || v != nil && o != nil && withoutNumbers(v.What) == withoutNumbers(o.What)
}

func withoutNumbers(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, s)
}

// Shrink takes acts away as long as the plan still fails, and returns what is left. It gives up after so many runs.
func Shrink(plan Plan, fails func(Plan) bool, runs int) Plan {
	for size := max(1, len(plan.Acts)/2); size > 0 && runs > 0; size /= 2 {
		for at := 0; at < len(plan.Acts) && runs > 0; runs-- {
			smaller := plan
			smaller.Acts = slices.Concat(plan.Acts[:at], plan.Acts[min(at+size, len(plan.Acts)):])
			if fails(smaller) {
				plan = smaller
			} else {
				at += size
			}
		}
	}
	return plan
}
