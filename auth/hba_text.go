package auth

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Option is a name=value behind the method, as understood.
type Option struct {
	Name, Value string
}

// List gives the records in file order. Their slices are read only.
func (r *Rules) List() []Rule {
	if r == nil {
		return nil
	}
	return slices.Clone(r.list)
}

// String is the record as pool_hba.conf has it, with its masks and options as they were understood, and without
// passwords.
func (r Rule) String() string {
	words := []string{r.Type.String(), joinTokens(r.Databases), joinTokens(r.Users)}
	if r.Type != TypeLocal {
		words = append(words, r.address.String())
	}
	words = append(words, r.Method.String())
	for _, o := range r.Options() {
		words = append(words, o.Name+"="+quoteWord(o.Value))
	}
	return strings.Join(words, " ")
}

// joinTokens gives an empty list, which matches nothing, as a name that nothing has.
func joinTokens(list []Token) string {
	if len(list) == 0 {
		return `""`
	}
	words := make([]string, len(list))
	for i, t := range list {
		words[i] = t.String()
	}
	return strings.Join(words, ",")
}

// String is the token as a file has it: in quotes, or partly so, where that is needed to mean the same.
func (t Token) String() string {
	switch {
	case t.Literal():
		return `"` + strings.ReplaceAll(t.Text, `"`, `""`) + `"`
	case t.Quoted:
		return quoteWord(t.Text)
	case t.Text == "":
		return t.Text
	case t.Text == `\`: // at the end of a line it would continue it
		return `"\"`
	}
	// What an unquoted + or / means is told by the first byte.
	return t.Text[:1] + quotePart(t.Text[1:])
}

// Literal reports whether the token is a name only because it stands in quotes.
func (t Token) Literal() bool { return t.Quoted && t.special() }

// special reports whether the text would mean something else without quotes.
func (t Token) special() bool {
	switch t.Text {
	case "all", "sameuser", "samerole", "samegroup", "samehost", "samenet", "replication":
		return true
	}
	return strings.HasPrefix(t.Text, "+") || strings.HasPrefix(t.Text, "@")
}

// quotePart quotes what would otherwise end a word, or continue a line.
func quotePart(s string) string {
	if !strings.ContainsAny(s, " \t\r,#\"") && !strings.HasSuffix(s, `\`) {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

func quoteWord(s string) string {
	if s == "" {
		return `""`
	}
	return quotePart(s)
}

// Address is the fourth column of a record: a keyword, an address without its mask, or a host's name; empty for local.
func (r Rule) Address() string {
	a := r.address
	switch a.kind {
	case addressNone:
		return ""
	case addressAll:
		return "all"
	case addressSameHost:
		return "samehost"
	case addressSameNet:
		return "samenet"
	case addressMask:
		return a.ip.String()
	case addressName:
		return a.name
	}
	return ""
}

// Netmask is the mask of the address, or empty.
func (r Rule) Netmask() string {
	mask, ok := netip.AddrFromSlice(r.address.mask)
	if !ok {
		return ""
	}
	return mask.String()
}

func (a address) String() string {
	r := Rule{address: a}
	switch a.kind {
	case addressMask:
		if n := ones(a.mask); n >= 0 {
			return r.Address() + "/" + strconv.Itoa(n)
		}
		return r.Address() + " " + r.Netmask()
	case addressName:
		return Token{Text: a.name, Quoted: true}.String()
	case addressNone, addressAll, addressSameHost, addressSameNet:
	}
	return r.Address()
}

// ones is the length of a mask, -1 if it has holes.
func ones(mask []byte) int {
	n, ended := 0, false
	for _, b := range mask {
		for bit := byte(0x80); bit != 0; bit >>= 1 {
			switch {
			case b&bit == 0:
				ended = true
			case ended:
				return -1
			default:
				n++
			}
		}
	}
	return n
}

// hidden stands for a secret.
const hidden = "******"

// Options are those in force: what was written, what follows from it, and no passwords.
func (r Rule) Options() (list []Option) {
	if r.Map != "" {
		list = append(list, Option{"map", r.Map})
	}
	if r.ClientCert != ClientCertNone && r.Type == TypeHostSSL {
		list = append(list, Option{"clientcert", r.ClientCert.String()})
	}
	if r.ClientName != ClientNameCN {
		list = append(list, Option{"clientname", r.ClientName.String()})
	}
	switch r.Method {
	case MethodPAM:
		return append(list, r.PAM.options()...)
	case MethodLDAP:
		return append(list, r.LDAP.options()...)
	case MethodTrust, MethodReject, MethodPassword, MethodMD5, MethodSCRAM, MethodCert, MethodPeer:
	}
	return list
}

func (o PAMOptions) options() []Option {
	list := []Option{{"pamservice", o.Service}}
	if o.UseHostname {
		list = append(list, Option{"pam_use_hostname", "1"})
	}
	return list
}

func (o *LDAPOptions) options() (list []Option) {
	add := func(name, value string, shown bool) {
		if shown {
			list = append(list, Option{name, value})
		}
	}
	add("ldapserver", strings.Join(o.Servers, " "), len(o.Servers) > 0)
	add("ldapport", strconv.Itoa(o.Port), o.Port != 0)
	add("ldapscheme", "ldaps", o.LDAPS)
	add("ldaptls", "1", o.StartTLS)
	add("ldapprefix", o.Prefix, !o.Search)
	add("ldapsuffix", o.Suffix, !o.Search && o.Suffix != "")
	add("ldapbasedn", o.BaseDN, o.Search)
	add("ldapbinddn", o.BindDN, o.BindDN != "")
	add("ldapbindpasswd", hidden, o.BindPassword != "")
	add("ldapsearchattribute", o.SearchAttribute, o.SearchAttribute != "")
	add("ldapsearchfilter", o.SearchFilter, o.SearchFilter != "")
	add("ldapscope", o.Scope.String(), o.Search && o.Scope != LDAPScopeSub)
	add("backend_use_passwd", "1", o.BackendUsePasswd)
	return list
}

// String is the record as pool_ident.conf has it.
func (r Ident) String() string {
	return quoteWord(r.Map) + " " + r.System.String() + " " + r.Role.String()
}
