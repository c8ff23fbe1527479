//go:build race

package pgcluster

const raceEnabled = true

// programEnv is for programs of ours: with the race detector they would wait for a second at their end.
func programEnv() []string { return []string{"GORACE=atexit_sleep_ms=0"} }
