//go:build !pam

package pam

import (
	"testing"

	"gopgpool/auth"
)

func TestWithoutPAM(t *testing.T) {
	t.Parallel()
	err := New(Places).Check(t.Context(), auth.PAMOptions{Service: "login"}, "root", password, "")
	judge(t, "built without", err, outcome{Unusable, "built without PAM"})
}
