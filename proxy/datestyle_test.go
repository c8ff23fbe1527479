package proxy

import (
	"testing"

	"gopgpool/proxy/stmt"
)

func TestHalvesOfDateStyle(t *testing.T) {
	a := stmt.NewAnalyzer(stmt.NewCache(stmt.Limits{}))
	for sql, want := range map[string]string{
		"SET datestyle TO iso":         "datestyle style",
		"SET DateStyle = 'SQL'":        "datestyle style",
		"SET datestyle TO ymd":         "datestyle order",
		"SET datestyle TO European":    "datestyle order",
		"SET datestyle TO iso, ymd":    "datestyle",
		"SET datestyle TO 'ISO, YMD'":  "datestyle",
		"SET datestyle TO german":      "datestyle",
		"SET datestyle TO DEFAULT":     "datestyle",
		"RESET datestyle":              "datestyle",
		"SET timezone TO 'iso'":        "timezone",
		"SET datestyle TO 'us', 'sql'": "datestyle",
	} {
		f := a.Analyze([]byte(sql))
		if _, name, ok := settingEffect(f.Setting); name != want || !ok {
			t.Errorf("%s: %q, want %q", sql, name, want)
		}
	}
}
