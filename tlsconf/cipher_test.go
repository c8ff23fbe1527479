package tlsconf

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
)

func suiteNames(list string) ([]string, []string, error) {
	var w warner
	ids, err := ciphers(list, &w)
	all := suites()
	var names []string
	for _, id := range ids {
		i := slices.IndexFunc(all, func(s suite) bool { return s.id == id })
		names = append(names, all[i].names[0])
	}
	slices.Sort(names)
	return names, w.lines, err
}

// What a string selects is what OpenSSL selects, as far as crypto/tls has it and does not call it insecure.
func TestCiphersAsOpenSSL(t *testing.T) {
	var safe []string
	for _, s := range suites() {
		if len(s.weak) == 0 {
			safe = append(safe, s.names[0])
		}
	}
	for _, list := range []string{
		"HIGH:MEDIUM:+3DES:!aNULL", // the default
		"ALL", "DEFAULT", "HIGH", "ALL:!AES", "HIGH:!SHA1", "HIGH:-AES128:+AES256", "AESGCM", "ECDHE+AESGCM", "ECDHE+AES:!aRSA",
		"EECDH+CHACHA20:EECDH+AES128", "aECDSA", "kECDHE:!AES256", "CHACHA20", "AES128:AES256:@STRENGTH", "HIGH:!kRSA",
		"TLSv1.2", "SHA1", "SHA", "ALL:-AES128:AES128", "ALL:!AES128:AES128", "HIGH MEDIUM,!aRSA;!SHA",
		"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES256-SHA", "FIPS+ECDHE", "HIGH:!eNULL:!LOW:!EXP:!MD5:!RC4",
	} {
		t.Run(list, func(t *testing.T) {
			out := openssl(t, "", "ciphers", "-tls1_2", list+":@SECLEVEL=0")
			var want []string
			for _, name := range strings.FieldsFunc(strings.TrimSpace(string(out)), func(r rune) bool { return r == ':' }) {
				if slices.Contains(safe, name) {
					want = append(want, name)
				}
			}
			slices.Sort(want)
			got, warnings, err := suiteNames(list)
			says(t, err, "")
			if !slices.Equal(got, want) {
				t.Errorf("chosen  %v\nopenssl %v", got, want)
			}
			if len(warnings) > 0 {
				t.Errorf("warnings %q", warnings)
			}
		})
	}
}

// OpenSSL and we have the same names for the same numbers.
func TestSuiteNames(t *testing.T) {
	out := openssl(t, "", "ciphers", "-stdname", "ALL:@SECLEVEL=0")
	standard := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 2 {
			standard[f[2]] = f[0]
		}
	}
	known := 0
	for _, s := range suites() {
		want, ok := standard[s.names[0]]
		if !ok {
			continue // RC4 and 3DES are built into few of them
		}
		known++
		if name := tls.CipherSuiteName(s.id); name != want || s.names[1] != want {
			t.Errorf("%s is %s, openssl has %s", s.names[0], name, want)
		}
	}
	if known < 15 {
		t.Errorf("only %d names were compared", known)
	}
}

func TestWeakCiphers(t *testing.T) {
	for _, c := range []struct {
		list string
		want string // names with spaces between them
	}{
		{"AES128-SHA", "AES128-SHA"},
		{"TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"},
		{"kRSA+AESGCM", "AES128-GCM-SHA256 AES256-GCM-SHA384"},
		{"RSA:!AES:!RC4", "DES-CBC3-SHA"},
		{"3DES", "DES-CBC3-SHA ECDHE-RSA-DES-CBC3-SHA"},
		{"RC4+ECDHE", "ECDHE-ECDSA-RC4-SHA ECDHE-RSA-RC4-SHA"},
		{"ECDHE+SHA256", "ECDHE-ECDSA-AES128-SHA256 ECDHE-RSA-AES128-SHA256"},
		{"aRSA+CHACHA20", "ECDHE-RSA-CHACHA20-POLY1305"},
		{"!kRSA:kRSA:CHACHA20", "ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305"},
	} {
		got, warnings, err := suiteNames(c.list)
		says(t, err, "")
		if strings.Join(got, " ") != c.want || len(warnings) > 0 {
			t.Errorf("%s: %v, warnings %q", c.list, got, warnings)
		}
	}
}

func TestCiphersThatAreNot(t *testing.T) {
	for _, c := range []struct{ list, warning, err string }{
		{"DHE-RSA-AES128-GCM-SHA256:HIGH:SEED:SEED", "not used: DHE-RSA-AES128-GCM-SHA256, SEED", ""},
		{"TLS_AES_128_GCM_SHA256:HIGH", "not used: TLS_AES_128_GCM_SHA256", ""},
		{"PSK", "not used: PSK", "none of these ciphers"},
		{"", "", "none of these ciphers"},
		{"!", "", "none of these ciphers"},
		{"+", "", "none of these ciphers"},
		{"ALL:!ALL", "", "none of these ciphers"},
		{"eNULL:aNULL", "not used: eNULL, aNULL", "none of these ciphers"},
		{"PROFILE=SYSTEM", "", ""},
		{"HIGH:@SECLEVEL=1", "@SECLEVEL=1 has no effect", ""},
	} {
		_, warnings, err := suiteNames(c.list)
		says(t, err, c.err)
		all := strings.Join(warnings, "\n")
		if (c.warning == "") != (all == "") || !strings.Contains(all, c.warning) {
			t.Errorf("%q: warnings %q, wanted %q", c.list, warnings, c.warning)
		}
	}
}

func FuzzCiphers(f *testing.F) {
	f.Add("HIGH:MEDIUM:+3DES:!aNULL")
	f.Add("kRSA+AES:-SHA;@SECLEVEL=2,@STRENGTH !RC4")
	f.Fuzz(func(t *testing.T, list string) {
		var w warner
		ids, err := ciphers(list, &w)
		if (err == nil) != (len(ids) > 0) {
			t.Errorf("%d suites and error %v", len(ids), err)
		}
		seen := make(map[uint16]bool)
		for _, id := range ids {
			if seen[id] {
				t.Errorf("%x twice", id)
			}
			seen[id] = true
		}
	})
}

func TestCurves(t *testing.T) {
	for _, c := range []struct {
		list string
		want []tls.CurveID
		err  string
	}{
		{"prime256v1", nil, ""},
		{"", nil, ""},
		{"P-256", []tls.CurveID{tls.CurveP256}, ""},
		{"secp384r1", []tls.CurveID{tls.CurveP384}, ""},
		{"prime256v1:secp521r1: X25519", []tls.CurveID{tls.CurveP256, tls.CurveP521, tls.X25519}, ""},
		{"X25519MLKEM768", []tls.CurveID{tls.X25519MLKEM768}, ""},
		{"P-384:", nil, `no such curve: ""`},
		{"brainpoolP256r1", nil, `no such curve: "brainpoolP256r1"`},
	} {
		got, err := curves(c.list)
		says(t, err, c.err)
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %v", c.list, got)
		}
	}
}
