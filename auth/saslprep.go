package auth

import (
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
	"golang.org/x/text/unicode/norm"
)

// saslPrep prepares a password for SCRAM as PostgreSQL does, which is not quite RFC 4013: pure ASCII is left alone,
// U+200B becomes a space, the text is checked before it is normalised, and what cannot be prepared (or would become
// empty) is used as it is. Both ends must do the same or keys differ.
func saslPrep(password string) string {
	if isASCII(password) || !utf8.ValidString(password) {
		return password
	}
	mapped := make([]rune, 0, len(password))
	for _, r := range password {
		switch {
		case stringprep.TableC1_2.Contains(r):
			mapped = append(mapped, ' ')
		case mappedToNothing(r):
		default:
			mapped = append(mapped, r)
		}
	}
	if len(mapped) == 0 || prohibited(mapped) || !bidiValid(mapped) {
		return password
	}
	return norm.NFKC.String(string(mapped))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// mappedToNothing is RFC 3454's table B.1; the library's copy lacks U+1806.
func mappedToNothing(r rune) bool {
	_, ok := stringprep.TableB1[r]
	return ok || r == 0x1806
}

func prohibited(text []rune) bool {
	sets := [...]stringprep.Set{
		stringprep.TableA1, stringprep.TableC1_2, stringprep.TableC2_1, stringprep.TableC2_2, stringprep.TableC3,
		stringprep.TableC4, stringprep.TableC5, stringprep.TableC6, stringprep.TableC7, stringprep.TableC8,
		stringprep.TableC9,
	}
	for _, r := range text {
		for _, set := range sets {
			if set.Contains(r) {
				return true
			}
		}
	}
	return false
}

// bidiValid is RFC 3454 section 6: right-to-left text stands alone, and begins and ends as such.
func bidiValid(text []rune) bool {
	rightToLeft, leftToRight := false, false
	for _, r := range text {
		rightToLeft = rightToLeft || stringprep.TableD1.Contains(r)
		leftToRight = leftToRight || stringprep.TableD2.Contains(r)
	}
	if !rightToLeft {
		return true
	}
	return !leftToRight && stringprep.TableD1.Contains(text[0]) && stringprep.TableD1.Contains(text[len(text)-1])
}
