package sim

import "slices"

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
