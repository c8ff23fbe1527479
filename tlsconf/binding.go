package tlsconf

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
)

// EndPoint is the channel binding data tls-server-end-point (RFC 5929) of a server's certificate: its hash by the algorithm of
// its signature, SHA-256 in place of MD5 and SHA-1. It is nil where the RFC defines none (Ed25519): no binding must be
// offered then.
func EndPoint(cert *x509.Certificate) []byte {
	switch cert.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.DSAWithSHA256, x509.ECDSAWithSHA256:
		sum := sha256.Sum256(cert.Raw)
		return sum[:]
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		sum := sha512.Sum384(cert.Raw)
		return sum[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		sum := sha512.Sum512(cert.Raw)
		return sum[:]
	case x509.UnknownSignatureAlgorithm, x509.PureEd25519:
		return nil
	default:
		return nil
	}
}
