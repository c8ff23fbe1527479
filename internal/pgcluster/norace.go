//go:build !race

package pgcluster

const raceEnabled = false
