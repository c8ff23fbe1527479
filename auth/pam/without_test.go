//go:build !pam

package pam

import (
	"testing"

	"gopgpool/auth"
	"gopgpool/auth/outside"
)

func TestWithoutPAM(t *testing.T) {
	t.Parallel()
	err := New(Places).Check(t.Context(), auth.PAMOptions{Service: "login"}, "root", password, "")
	judge(t, "built without", err, outcome{outside.Unusable, "built without PAM"})
}
