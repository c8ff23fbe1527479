package auth

// Method is the fourth column of pool_hba.conf.
type Method uint8

// The methods of Pgpool-II, and peer.
const (
	MethodTrust Method = iota + 1
	MethodReject
	MethodPassword
	MethodMD5
	MethodSCRAM
	MethodCert
	MethodPAM
	MethodLDAP
	MethodPeer // PostgreSQL's: the name of the operating system's user behind a Unix socket
)

func (m Method) String() string {
	switch m {
	case MethodTrust:
		return "trust"
	case MethodReject:
		return "reject"
	case MethodPassword:
		return "password"
	case MethodMD5:
		return "md5"
	case MethodSCRAM:
		return "scram-sha-256"
	case MethodCert:
		return "cert"
	case MethodPAM:
		return "pam"
	case MethodLDAP:
		return "ldap"
	case MethodPeer:
		return "peer"
	}
	return "none"
}

// methodNamed is the inverse of String; 0 if there is no such method.
func methodNamed(name string) Method {
	for m := MethodTrust; m <= MethodPeer; m++ {
		if m.String() == name {
			return m
		}
	}
	return 0
}

// ServerMethod is what a server asks of whoever logs in: the code of its first authentication message, or what
// [ServerMethod.ByOwnCert] makes of it.
type ServerMethod int32

// The requests we can answer, and Unasked while no server has been asked. ServerCert asks for nothing as ServerTrust
// does, but of somebody who has shown it a certificate.
const (
	ServerCert     ServerMethod = -2
	Unasked        ServerMethod = -1
	ServerTrust    ServerMethod = 0
	ServerPassword ServerMethod = 3
	ServerMD5      ServerMethod = 5
	ServerSCRAM    ServerMethod = 10
)

// ByOwnCert is the request of a server to which we have shown a certificate of ours (backend_sslcert). Where it then asks
// for nothing, it may have recognised us, and that says nothing about the client.
func (m ServerMethod) ByOwnCert() ServerMethod {
	if m == ServerTrust {
		return ServerCert
	}
	return m
}

// silent reports whether the server asks for nothing.
func (m ServerMethod) silent() bool { return m == ServerTrust || m == ServerCert }

// Supported reports whether [Login] can answer the request.
func (m ServerMethod) Supported() bool {
	switch m {
	case ServerCert, ServerTrust, ServerPassword, ServerMD5, ServerSCRAM:
		return true
	case Unasked:
	}
	return false
}

func (m ServerMethod) String() string {
	switch m {
	case ServerCert:
		return "certificate"
	case ServerTrust:
		return "trust"
	case ServerPassword:
		return "password"
	case ServerMD5:
		return "md5"
	case ServerSCRAM:
		return "SCRAM"
	case Unasked:
		return "not asked"
	}
	return "unsupported"
}
