package query

import (
	"errors"
	"testing"

	"gopgpool/auth"
)

const verifier = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$" +
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

func TestJudge(t *testing.T) {
	t.Parallel()
	text := func(values ...string) row {
		var r row
		for _, v := range values {
			if v == "NULL" {
				r = append(r, nil)
				continue
			}
			r = append(r, []byte(v))
		}
		return r
	}
	md5 := auth.MD5Hash("secret", "u")
	for name, c := range map[string]struct {
		rows []row
		kind auth.EntryKind
		why  Why
	}{
		"SCRAM":              {rows: []row{text("u", verifier)}, kind: auth.EntrySCRAM},
		"md5":                {rows: []row{text("u", md5)}, kind: auth.EntryMD5},
		"plain":              {rows: []row{text("u", "secret")}, kind: auth.EntryPlain},
		"no row":             {why: WhyNoRow},
		"NULL":               {rows: []row{text("u", "NULL")}, why: WhyNoPassword},
		"empty":              {rows: []row{text("u", "")}, why: WhyNoPassword},
		"other name":         {rows: []row{text("U", md5)}, why: WhyOtherName},
		"no name":            {rows: []row{text("NULL", md5)}, why: WhyOtherName},
		"NULL, NULL":         {rows: []row{text("NULL", "NULL")}, why: WhyOtherName},
		"two rows":           {rows: []row{text("u", md5), text("u", md5)}, why: WhyShape},
		"one column":         {rows: []row{text("u")}, why: WhyShape},
		"no column":          {rows: []row{text()}, why: WhyShape},
		"three columns":      {rows: []row{text("u", md5, "x")}, why: WhyShape},
		"unknown verifier":   {rows: []row{text("u", "SCRAM-SHA-512$4096:x$y:z")}, why: WhyUnusable},
		"malformed verifier": {rows: []row{text("u", "SCRAM-SHA-256$x")}, why: WhyUnusable},
	} {
		e, err := judge("u", c.rows)
		if e.Kind() != c.kind || whyOf(err) != c.why {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
}

// whyOf is the reason of a NoEntry, 0 for no error, 255 for another one.
func whyOf(err error) Why {
	var none *NoEntry
	switch {
	case err == nil:
		return 0
	case errors.As(err, &none):
		return none.Why
	}
	return 255
}
