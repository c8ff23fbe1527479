package vsession

import (
	"strings"
	"testing"
)

// What a server is sent that has seen the first statements of a session, and not the others.
func TestWhatALateServerIsSent(t *testing.T) {
	const anew = "SET SESSION AUTHORIZATION DEFAULT"
	s := func(name, value string) Statement { return set(name, value) }
	bob, alice, role := s(nameAuthorization, "bob"), s(nameAuthorization, "alice"), s(nameRole, "r")
	order, style, both := s("datestyle order", "ymd"), s("datestyle style", "iso"), s("datestyle", "iso, mdy")
	for _, c := range []struct {
		name string
		run  []Statement
		seen int // the server has seen so many
		want string
	}{
		{"a role ends with the authorization", []Statement{role, bob}, 0, bob.Text},
		{"nothing new", []Statement{role, bob}, 2, ""},
		{"a setting that alice may not make", []Statement{alice, s("x", "1"), bob}, 1, anew + "|SET x 1|" + bob.Text},
		{"who it is counts again", []Statement{bob, s("x", "1"), role, s("y", "1")}, 2, anew + "|" + bob.Text + "|" + role.Text + "|SET y 1"},
		{"who it is has not changed", []Statement{bob, s("x", "1"), s("y", "1")}, 1, "SET x 1|SET y 1"},
		{"RESET ALL leaves who it is", []Statement{role, s("x", "1"), {Text: "RESET ALL", Effect: ResetAll}, s("y", "1")}, 0, role.Text + "|RESET ALL|SET y 1"},
		{"DISCARD ALL does not", []Statement{role, {Text: "DISCARD ALL", Effect: DiscardAll}}, 0, "DISCARD ALL"},
		{"halves stay beside each other", []Statement{style, order}, 0, style.Text + "|" + order.Text},
		{"the same half", []Statement{style, order, s("datestyle order", "dmy")}, 0, style.Text + "|SET datestyle order dmy"},
		{"the whole", []Statement{style, order, both}, 0, both.Text},
		{"a half after the whole", []Statement{both, order}, 0, both.Text + "|" + order.Text},
		{"another setting of a similar name", []Statement{s("datestylex", "1"), both}, 0, "SET datestylex 1|" + both.Text},
	} {
		t.Run(c.name, func(t *testing.T) {
			var j Journal
			var first, late Mark
			for i, st := range c.run {
				j.Ran(&first, st)
				if i+1 == c.seen {
					late = first
				}
			}
			var got []string
			for _, st := range j.Lacks(&late, true, nil) {
				got = append(got, st.Text)
			}
			if strings.Join(got, "|") != c.want {
				t.Errorf("sent %q, want %q", strings.Join(got, "|"), c.want)
			}
		})
	}
}

// Where connections are shared, a session that has said RESET ALL has its role still, and the next one has not.
func TestResetAllLeavesTheRoleOfASharedConnection(t *testing.T) {
	for _, inTx := range []bool{false, true} {
		var a, b Journal
		a.Share(nil)
		b.Share(nil)
		var sv Server
		m := a.Take(&sv, 1, true)
		if inTx {
			a.BeganOn(&m, Begin{Text: "BEGIN"})
		}
		a.Ran(&m, set(nameAuthorization, "bob"))
		a.Ran(&m, set(nameRole, "r"))
		a.Ran(&m, Statement{Text: "RESET ALL", Effect: ResetAll})
		if inTx {
			a.Commit([]*Mark{&m})
		}
		if a.Behind(&m) {
			t.Errorf("in a transaction: %v: its own connection is behind", inTx)
		}
		a.Leave(&sv, &m, 1, true)
		next := b.Take(&sv, 2, true)
		if got := b.Lacks(&next, true, nil); len(got) != 1 || got[0].Text != forget {
			t.Errorf("in a transaction: %v: the next session sends %v", inTx, got)
		}
		b.Leave(&sv, &next, 2, true)
		m = a.Take(&sv, 1, true)
		got := a.Lacks(&m, true, nil)
		if len(got) != 1 || !strings.HasSuffix(got[0].Text, "SET session_authorization bob\n;\nSET role r\n;\n") {
			t.Errorf("in a transaction: %v: the session sends %+v", inTx, got)
		}
	}
}

func TestMindsTemporaryObjectsOfOthers(t *testing.T) {
	for _, c := range []struct {
		run  []Statement
		want bool
	}{
		{nil, false},
		{[]Statement{set("work_mem", "1")}, false},
		{[]Statement{set("search_path", "a, PG_TEMP")}, true},
		{[]Statement{set("search_path", "pg_temp"), set("search_path", "a")}, false},
		{[]Statement{set("temp_buffers", "'1MB'")}, true},
	} {
		var j Journal
		var m Mark
		for _, st := range c.run {
			j.Ran(&m, st)
		}
		if got := j.MindsTemp(); got != c.want {
			t.Errorf("%+v: %v", c.run, got)
		}
	}
}
