//go:build !race

package leak

import "time"

// slack multiplies what memory may have grown by.
const slack = 1

// calmFor is how long pgpool must not have shrunk before it is looked at.
const calmFor = 12 * time.Second
