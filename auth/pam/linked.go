//go:build pam

package pam

import (
	"errors"
	"runtime"
	"strings"

	"github.com/msteinert/pam/v2"

	"gopgpool/auth/outside"
)

// Built reports whether PAM is linked in (build tag pam).
const Built = true

// authenticate blocks as long as the modules do. The thread is not used for anything else afterwards: modules may have changed it.
func authenticate(q question) (err error) {
	runtime.LockOSThread()
	talk := &conversation{password: q.password}
	t, err := pam.Start(q.service, q.user, talk)
	if err != nil {
		return outside.New(outside.Unusable, "unable to create PAM authenticator", err)
	}
	defer func() {
		if end := ended(t); err == nil {
			err = end
		}
	}()
	if q.rhost != "" {
		if err := t.SetItem(pam.Rhost, q.rhost); err != nil {
			return outside.New(outside.Unusable, "unable to create PAM authenticator", err)
		}
	}
	// Accounts without a password are nobody's, whatever the service thinks of them.
	if err := t.Authenticate(pam.DisallowNullAuthtok); err != nil {
		return talk.failed("pam_authenticate failed", err)
	}
	if err := t.AcctMgmt(pam.DisallowNullAuthtok); err != nil {
		return talk.failed("system call pam_acct_mgmt failed", err)
	}
	return nil
}

// ended gives up the transaction. A module that cannot tidy up is no reason to let anybody in.
func ended(t *pam.Transaction) error {
	if err := t.End(); err != nil {
		return outside.New(outside.Unusable, "system call pam_end failed", err)
	}
	return nil
}

// RespondPAM answers one message of a module, within a call from C.
func (c *conversation) RespondPAM(style pam.Style, message string) (string, error) {
	switch style {
	case pam.PromptEchoOff:
		return c.hidden()
	case pam.ErrorMsg:
		c.complaint(message)
		return "", nil
	case pam.TextInfo:
		return "", nil
	case pam.PromptEchoOn, pam.BinaryPrompt:
	}
	return "", errPrompt
}

// failed is the answer no. The codes that are not about the user are told apart, but for PAM_SYSTEM_ERR, which pam_exec also
// returns where its command says no.
func (c *conversation) failed(text string, err error) error {
	if len(c.said) > 0 {
		text += " (" + outside.Printable(strings.Join(c.said, "; ")) + ")"
	}
	code := pam.Error(0)
	if !errors.As(err, &code) {
		return outside.New(outside.Unusable, text, err)
	}
	switch code {
	case pam.ErrAuthinfoUnavail:
		return outside.New(outside.Unavailable, text, err)
	case pam.ErrOpen, pam.ErrSymbol, pam.ErrService, pam.ErrBuf, pam.ErrAbort, pam.ErrModuleUnknown,
		pam.ErrBadItem, pam.ErrConv:
		return outside.New(outside.Unusable, text, err)
	}
	return outside.New(outside.Refused, text, err)
}
