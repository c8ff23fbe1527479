# Who gets in: rules, stored passwords, servers' methods and clients' TLS, each combination with psql, pgx and JDBC and with wrong proofs;
# see internal/authtest. `make test` goes through the same table without JDBC. It takes about five minutes and needs root for PAM.
#   make authmatrix                                    prints the table of results and the counts
#   make authmatrix AUTHLINES=/tmp/some.txt            another table than internal/authtest/testdata/matrix.txt
AUTHLINES ?=

.PHONY: authmatrix

authmatrix: need-compiler need-server need-ldap
	internal/drivers/prepare bin/drivers.d
	@rm -f bin/authmatrix.txt
	@GOPGPOOL_REQUIRE_SERVER=1 GOPGPOOL_REQUIRE_AUTH=1 GOPGPOOL_AUTHMATRIX=$(CURDIR)/bin/authmatrix.txt GOPGPOOL_AUTHLINES=$(AUTHLINES) \
		$(GO) test -race -count=1 -timeout 30m $(TESTFLAGS) ./internal/authtest; status=$$?; cat bin/authmatrix.txt; exit $$status
