//go:build !race

package leak

// slack multiplies what memory may have grown by.
const slack = 1
