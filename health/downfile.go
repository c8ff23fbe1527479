package health

import (
	"os"
	"strconv"
	"strings"

	"gopgpool/cluster"
)

// maxDownFile bounds what is read of the test file.
const maxDownFile = 16 << 10

// downRequested reports whether the test file wants the check of a node to fail.
func (h *Check) downRequested(id cluster.NodeID) bool {
	info, err := os.Stat(h.downFile)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxDownFile {
		return false
	}
	data, err := os.ReadFile(h.downFile)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		number, word, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if n, err := strconv.Atoi(number); err == nil && n == int(id) && word == "down" {
			return true
		}
	}
	return false
}
