package query

import "gopgpool/auth"

// row is one row of an answer; a nil column is NULL.
type row [][]byte

// judge reads the answer of auth_query about a user.
func judge(user string, rows []row) (auth.Entry, error) {
	why := shape(user, rows)
	if why != 0 {
		return auth.Entry{}, &NoEntry{User: user, Why: why}
	}
	entry := auth.QueriedEntry(string(rows[0][1]))
	if !entry.Present() {
		return auth.Entry{}, &NoEntry{User: user, Why: WhyUnusable}
	}
	return entry, nil
}

// shape finds what keeps the rows from being a password; 0 if nothing does.
func shape(user string, rows []row) Why {
	switch {
	case len(rows) == 0:
		return WhyNoRow
	case len(rows) > 1 || len(rows[0]) != 2:
		return WhyShape
	case string(rows[0][0]) != user:
		return WhyOtherName
	case len(rows[0][1]) == 0:
		return WhyNoPassword
	}
	return 0
}
