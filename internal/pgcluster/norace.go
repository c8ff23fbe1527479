//go:build !race

package pgcluster

const raceEnabled = false

// programEnv is for programs of ours.
func programEnv() []string { return nil }
