# Kills servers under load and judges what clients felt; results go to docs/ha. It takes about ten minutes.
#   make ha HA=quick                                   2 kills in each run, every fault once
#   make ha HAFLAGS="-runs primary -rounds 5"          see bin/ha -help
#   make ha HAFLAGS="-peer -runs primary -rounds 3"    Debian's Pgpool-II for comparison
HAFLAGS ?=

.PHONY: ha

ha: build
	go build -o bin/ha ./internal/ha
	bin/ha $(if $(filter quick,$(HA)),-quick) $(HAFLAGS)
