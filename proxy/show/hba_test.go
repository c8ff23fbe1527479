package show

import (
	"strings"
	"testing"

	"gopgpool/auth"
)

func TestPoolHBA(t *testing.T) {
	idents, errs := auth.ParseIdent("/etc/i", []byte("m \"/^(.*) x$\" \\1\nm a \"all\"\n"), auth.Files{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	text := "local all,\"all\",\"b c\" +g,\"u,\"\"v\" peer map=m\n\n" +
		"host d u 10.0.0.0/9 ldap ldapserver=\"h g\" ldapbasedn=b ldapbindpasswd=secret\n"
	rules, errs := auth.ParseHBA("/etc/h", []byte(text), auth.Files{}, auth.HBAOptions{Idents: idents})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, tt := range []struct {
		name string
		got  Result
		want string
	}{
		{
			"hba", PoolHBA(rules),
			"rule_number|file_name|line_number|type|database|user_name|address|netmask|auth_method|options|error\n" +
				`1|/etc/h|1|local|{all,"\"all\"","b c"}|{+g,"u,\"v"}|||peer|{map=m}|` + "\n" +
				`2|/etc/h|3|host|{d}|{u}|10.0.0.0|255.128.0.0|ldap|` +
				`{"ldapserver=h g",ldapbasedn=b,ldapbindpasswd=******,ldapsearchattribute=uid}|`,
		},
		{
			"ident", PoolIdent(rules.Idents()), "map_number|file_name|line_number|map_name|sys_name|pg_username|error\n" +
				`1|/etc/i|1|m|/^(.*) x$|\1|` + "\n" + `2|/etc/i|2|m|a|"all"|`,
		},
		{"none", PoolIdent(nil), "map_number|file_name|line_number|map_name|sys_name|pg_username|error"},
	} {
		lines := []string{strings.Join(tt.got.Columns, "|")}
		for _, row := range tt.got.Rows {
			lines = append(lines, strings.Join(row, "|"))
		}
		if got := strings.Join(lines, "\n"); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
	if got := len(PoolHBA(nil).Rows); got != 0 {
		t.Error(got)
	}
}
