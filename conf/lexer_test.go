package conf

import (
	"fmt"
	"strings"
	"testing"
)

// TestLex: Configuration File syntax. A result is name=value@line, an error !token@line.
func TestLex(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"equal sign", "port = 9999\n", "port=9999@1"},
		{"no equal sign", "port 9999\n", "port=9999@1"},
		{"no blanks", "port=9999", "port=9999@1"},
		{"several on a line", "a=1 b=2\tc 3\n", "a=1@1 b=2@1 c=3@1"},
		{"lines counted", "\n# x\n\r\na = 1\r\n", "a=1@4"},
		{"comment after value", "a = on # b = 2\nc='#'#d", "a=on@1 c=#@2"},
		{"comment on the last line", "a = 1\n# no newline", "a=1@1"},
		{"quoted", "a = 'b c=d'", "a=b c=d@1"},
		{"empty", "a = ''", "a=@1"},
		{"backslash stays", `a = 'it\'s'`, `a=it\'s@1`},
		{"doubled quote", "a = 'it''s'\nb = 1", "!'@1 a=it@1 b=1@2"},
		{"double quotes", `a = "b"` + "\nb = 1", `!"@1 b=1@2`},
		{"bare host", "h = host-1.example.com:5/x", "h=host-1.example.com:5/x@1"},
		{"bare path", "h = /var/run", "!/@1"},
		{"bare address", "h = 10.0.0.1", "!10.0.@1"},
		{"star", "a = *", "a=*@1"},
		{"star and more", "a = *x", "!*x@1"},
		{"unit", "a = 10s", "a=10s@1"},
		{"negative", "a = -1", "a=-1@1"},
		{"hex", "a = 0x1F", "a=0x1F@1"},
		{"real", "a = 1.5 b = .5 c = 1.5e3 d = 1.5e-3", "a=1.5@1 b=.5@1 c=1.5e3@1 d=1.5e-3@1"},
		{"real with unit", "a = 1.5GB", "a=1.5GB@1"},
		{"exponent without fraction", "a = 1e2", "!1e2@1"},
		{"missing value", "a =\nb = 1", "!a@1 b=1@2"},
		{"missing value at the end", "a", "!a@1"},
		{"value on the next line", "a\n1", "!a@1 !1@2"},
		{"unterminated", "a = 'b\nc = 1", "!'@1 c=1@2"},
		{"unterminated after backslash", "a = 'b\\\nc = 1", "!'@1 c=1@2"},
		{"high bytes", "ä = ü", "ä=ü@1"},
		{"digit first", "1a = 2", "!1@1"},
		{"empty text", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			statements, errs := lex(tt.text)
			var got []string
			for _, e := range errs {
				got = append(got, fmt.Sprintf("!%s@%d", e.token, e.line))
			}
			for _, s := range statements {
				got = append(got, fmt.Sprintf("%s=%s@%d", s.name, s.value, s.line))
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("%q:\n got %s\nwant %s", tt.text, s, tt.want)
			}
		})
	}
}

func FuzzLex(f *testing.F) {
	for _, s := range []string{"a = 'b' # c\n", "a=1.5GB b 0x", "include 'x'", "a = 'it\\'s'\n\n*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		statements, errs := lex(text)
		lines := strings.Count(text, "\n") + 1
		for _, s := range statements {
			if s.line < 1 || s.line > lines || s.name == "" || strings.ContainsAny(s.value, "\n") {
				t.Errorf("statement %+v of %d lines", s, lines)
			}
		}
		for i, e := range errs {
			if e.line < 1 || e.line > lines || i > 0 && e.line <= errs[i-1].line {
				t.Errorf("errors %+v of %d lines", errs, lines)
			}
		}
	})
}
