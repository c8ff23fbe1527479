//go:build !pam

package pam

// Built reports whether PAM is linked in (build tag pam).
const Built = false

// authenticate is not reached: examine refuses before.
func authenticate(question) error { return unusable("this pgpool was built without PAM", nil) }
