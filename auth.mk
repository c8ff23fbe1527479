# Who gets in: rules, stored passwords, servers' methods and clients' TLS, each combination with psql, pgx and JDBC and with wrong proofs;
# see internal/authtest. `make test` goes through the same table without JDBC. It takes some minutes and needs root for PAM.
#   make authmatrix                                    prints the table of results and the counts
#   make authmatrix AUTHLINES=/tmp/some.txt            another table than internal/authtest/testdata/matrix.txt
AUTHLINES ?=

.PHONY: authmatrix

authmatrix: need-compiler need-server
	internal/drivers/prepare bin/drivers.d
	GOPGPOOL_REQUIRE_SERVER=1 GOPGPOOL_AUTHMATRIX=1 GOPGPOOL_AUTHLINES=$(AUTHLINES) $(GO) test -race -count=1 -timeout 30m $(TESTFLAGS) ./internal/authtest
