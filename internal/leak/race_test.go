//go:build race

package leak

// slack multiplies what memory may have grown by: the race detector remembers much and gives nothing back.
const slack = 10
