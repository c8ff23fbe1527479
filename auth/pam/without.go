//go:build !pam

package pam

import "gopgpool/auth/outside"

// Built reports whether PAM is linked in (build tag pam).
const Built = false

// authenticate is not reached: examine refuses before.
func authenticate(question) error {
	return outside.New(outside.Unusable, "this pgpool was built without PAM", nil)
}
