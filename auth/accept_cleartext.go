package auth

import "errors"

// cleartextAcceptor asks for the password itself.
type cleartextAcceptor struct {
	plan     Plan
	party    Party
	password string
	matches  bool  // the judge within the process
	refusal  error // the judge outside
	state    exchangeState
}

func (a *cleartextAcceptor) Start() (Step, error) {
	return Step{Send: true, Code: codeCleartext, MaxMessage: maxPasswordMessage}, nil
}

func (a *cleartextAcceptor) Next(body []byte) (Step, error) {
	if a.state != exchangeAsked {
		return Step{}, outOfTurn()
	}
	a.state = exchangeOver
	password, err := passwordIn(body, maxPasswordMessage)
	if err != nil {
		return Step{}, err
	}
	if password == "" { // nobody is asked about it: LDAP servers take it for anonymous, which succeeds
		return Step{}, a.failed("empty password returned by client")
	}
	a.password = password
	switch a.plan.Judge {
	case JudgeServer:
		return a.done()
	case JudgeOutside:
		a.state = exchangeJudging
		return Step{Work: a.askOutside}, nil
	case JudgeEntry, JudgeNobody:
	}
	if a.matchesAtOnce() && a.plan.doomed == nil {
		return a.done()
	}
	a.state = exchangeJudging
	return Step{Work: a.judge}, nil
}

// matchesAtOnce compares where that is cheap.
func (a *cleartextAcceptor) matchesAtOnce() bool {
	entry := a.party.Entry
	if entry.verifier.usable() {
		return a.party.Cache.remembered(entry.verifier, a.password)
	}
	if entry.kind == EntryMD5 {
		return equal(MD5Hash(a.password, a.party.User), entry.hash)
	}
	clear, ok := entry.Clear()
	return equal(a.password, clear) && ok
}

// judge is expensive for every password that does not match at once, whatever the entry.
func (a *cleartextAcceptor) judge() {
	if v := a.party.Entry.verifier; v.usable() {
		a.matches = a.party.Cache.matches(v, a.password)
		return
	}
	_, _ = a.party.Cache.verifier(a.party.User, Entry{}).derive()
}

func (a *cleartextAcceptor) askOutside() {
	a.refusal = errNobodyToAsk
	if a.party.Check != nil {
		a.refusal = a.party.Check(a.password)
	}
}

var errNobodyToAsk = errors.New("there is nobody to ask")

func (a *cleartextAcceptor) Resume() (Step, error) {
	if a.state != exchangeJudging {
		return Step{}, outOfTurn()
	}
	a.state = exchangeOver
	switch {
	case a.plan.Judge == JudgeOutside && a.refusal != nil:
		return Step{}, outsideFailed(a.party.User, a.plan.method, a.refusal)
	case a.plan.doomed != nil:
		return Step{}, a.plan.doomed
	case a.plan.Judge != JudgeOutside && !a.matches:
		return Step{}, a.failed(mismatch)
	}
	return a.done()
}

func (a *cleartextAcceptor) done() (Step, error) {
	a.state = exchangeDone
	return Step{Done: true}, nil
}

func (a *cleartextAcceptor) failed(detail string) *Error {
	return passwordFailed(a.party.User, "clear text authentication failed", detail)
}

func (a *cleartextAcceptor) Identity() Identity {
	if a.state != exchangeDone {
		return Identity{}
	}
	switch a.plan.Judge {
	case JudgeEntry:
		return Identity{By: ByEntry, sent: a.password}
	case JudgeOutside:
		if !a.plan.keep {
			return Identity{By: ByOther}
		}
		return Identity{By: ByOther, sent: a.password}
	case JudgeServer, JudgeNobody:
	}
	return Identity{By: ByNothing, sent: a.password}
}
