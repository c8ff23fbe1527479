package auth

import "testing"

func TestSmoke(t *testing.T) {
	k := NewKey("mysecretkey")
	if got, _ := k.Encrypt("foo"); got != "hSltKZkF9x25a89JlEFPeA==" {
		t.Fatal(got)
	}
	cache := NewCache(NewRandom(), 10)
	acc := NewAcceptor(Plan{Ask: AskSCRAM, Judge: JudgeEntry}, "u", ParseEntry("TEXTsecret", k), cache, NewRandom())
	l := NewLogin(PasswordCredential("u", "secret"), cache)
	s, err := acc.Start()
	for i := 0; i < 10 && err == nil; i++ {
		if s.Work != nil {
			s.Work()
			s, err = acc.Resume()
			continue
		}
		r, e := l.Next(s.Code, s.Body)
		if e != nil {
			t.Fatal(e)
		}
		if r.Work != nil {
			r.Work()
			r, e = l.Resume()
			if e != nil {
				t.Fatal(e)
			}
		}
		if s.Done {
			r, e = l.Next(0, nil)
			if e != nil || !r.Done {
				t.Fatal(e)
			}
			return
		}
		s, err = acc.Next(r.Body)
	}
	t.Fatal(err)
}
