package main

import (
	"context"

	"gopgpool/auth"
	"gopgpool/auth/ldap"
	"gopgpool/auth/pam"
)

// outside is where passwords are judged that neither we nor the servers know.
type outside struct {
	ldap *ldap.Client
	pam  *pam.Stack
}

// ask asks LDAP or PAM, as the record of pool_hba.conf says, whether a client's password is right.
func (o outside) ask(ctx context.Context, rule auth.Rule, user, password, address string) error {
	if address == "[local]" {
		address = ""
	}
	var err error
	refusal := ldap.Refusal
	switch rule.Method {
	case auth.MethodLDAP:
		err = o.ldap.Check(ctx, rule.LDAP, user, password)
	case auth.MethodPAM:
		err, refusal = o.pam.Check(ctx, rule.PAM, user, password, address), pam.Refusal
	case auth.MethodTrust, auth.MethodReject, auth.MethodPassword, auth.MethodMD5, auth.MethodSCRAM, auth.MethodCert, auth.MethodPeer:
		panic("pgpool: nobody to ask for method " + rule.Method.String())
	}
	if err == nil {
		return nil
	}
	return refusal(user, err)
}
