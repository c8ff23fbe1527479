package stmt

import "testing"

// FuzzPoolCommand: no text makes the reader of PGPOOL commands panic or loop, and what it reads is a command with what it needs.
func FuzzPoolCommand(f *testing.F) {
	for _, s := range []string{
		"pgpool pause", `pgpool resume "a""b";`, "pgpool kill 1", "pgpool reconnect /* x */ db -- y", `pgpool pause "`, "pgpool kill 1.5e", "pgpool switchover to 2",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		facts := poolFacts(text)
		if facts == nil {
			return
		}
		if c := facts.Pool; facts.Kind != KindPool || (c.Verb == "kill" || c.Verb == "switchover") && c.Value == "" || c.Verb == "show" && c.Name == "" {
			t.Errorf("%q is read as %+v", text, *c)
		}
	})
}
