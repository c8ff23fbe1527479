package site

import (
	"reflect"
	"testing"
)

func TestParseWatchdogInfo(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       WatchdogInfo
		refused    bool
	}{
		{"three nodes", "3 3 YES server1:9999 Linux server1 server1\n\n" +
			"server1:9999 Linux server1 server1 9999 9000 4 LEADER 0 MEMBER\nNot_Set server2 9999 9000 0 DEAD 0 MEMBER\n" +
			"server3:9999 Linux server3 server3 9999 9000 6 STANDING FOR LEADER 3 REVOKED-LOST\n", WatchdogInfo{
			Summary: "3 3 YES", Leader: "server1", Nodes: []WatchdogNode{
				{"server1:9999 Linux server1", "server1", "9999", "9000", "4 LEADER", "0 MEMBER"},
				{"Not_Set", "server2", "9999", "9000", "0 DEAD", "0 MEMBER"},
				{"server3:9999 Linux server3", "server3", "9999", "9000", "6 STANDING FOR LEADER", "3 REVOKED-LOST"},
			},
		}, false},
		{"no leader", "2 2 NO\n\nNot_Set a 9999 9000 0 DEAD 0 MEMBER\n", WatchdogInfo{Summary: "2 2 NO", Nodes: []WatchdogNode{
			{"Not_Set", "a", "9999", "9000", "0 DEAD", "0 MEMBER"},
		}}, false},
		{"an error", "ERROR: connection refused\n", WatchdogInfo{}, true},
		{"a short line", "1 1 NO\n\na b 4 LEADER\n", WatchdogInfo{}, true},
	} {
		got, err := ParseWatchdogInfo(tc.text)
		if (err != nil) != tc.refused || err == nil && !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v, %v", tc.name, got, err)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	got := Settings{"b": "1", "a": "it's"}.With(Settings{"b": "2"}).Text()
	if want := "a = 'it''s'\nb = '2'\n"; got != want {
		t.Errorf("%q", got)
	}
}

func TestFirstMissing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		texts []string
		want  string
	}{
		{[]string{"one", "two"}, ""},
		{[]string{"two", "one"}, "one"},
		{[]string{"three"}, "three"},
		{nil, ""},
	} {
		if got := firstMissing("one two", tc.texts); got != tc.want {
			t.Errorf("%v: %q", tc.texts, got)
		}
	}
}
