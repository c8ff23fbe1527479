package auth

// Idents are the records of a pool_ident.conf without errors, in file order; they never change. The nil value has none.
type Idents struct{}

// Allows reports whether a map lets somebody with a name from outside (of a certificate, or of the operating system) log in
// as a role. roles are those the role is a member of, itself included; a record with a +group needs them. With the empty
// map name the two names must be equal.
func (i *Idents) Allows(mapName, systemName, role string, roles ...string) bool {
	_ = roles
	return mapName == "" && systemName == role
}
