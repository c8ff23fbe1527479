//go:build race

package leak

import "time"

// slack multiplies what memory may have grown by: the race detector remembers much and gives nothing back.
const slack = 10

// calmFor is how long pgpool must not have shrunk before it is looked at: that much more may come does not need a smaller start.
const calmFor = 3 * time.Second
