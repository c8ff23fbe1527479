package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
)

// nodeIDFile stands beside pgpool.conf.
const nodeIDFile = "pgpool_node_id"

// readNodeID takes the local watchdog node's number from the file pgpool_node_id beside pgpool.conf.
func (l *loader) readNodeID(c *Config) {
	if !c.Watchdog.UseWatchdog {
		return
	}
	name := filepath.Join(c.Dir, nodeIDFile)
	id, text, hint := l.nodeID(name)
	if l.localNode != noIndex {
		c.Watchdog.NodeID, c.Watchdog.NumberedByRank = l.localNode, l.ranked
		if l.ranked && text == "" && id != l.localNode {
			l.report(Problem{
				Severity: Warning, File: name, Line: 1, Name: nodeIDFile, Value: strconv.Itoa(id),
				Text: fmt.Sprintf("%s is ignored: by the parameters of older releases this is node %d", nodeIDFile, l.localNode),
				Hint: "number the nodes with hostnameN, wd_portN and pgpool_portN",
			})
		}
		return
	}
	if text != "" {
		l.report(Problem{Severity: Error, File: name, Line: 1, Name: nodeIDFile, Text: text, Hint: hint})
		return
	}
	c.Watchdog.NodeID = id
}

func (l *loader) nodeID(name string) (id int, text, hint string) {
	content, err := l.read(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Sprintf("Pgpool node id file %s cannot be read: %v", name, err), ""
	}
	if err != nil {
		return 0, fmt.Sprintf("Pgpool node id file %s does not exist", name),
			"If watchdog is enable, pgpool_node_id file is required"
	}
	line, _, _ := bytes.Cut(content, []byte("\n"))
	if len(line) == 0 {
		return 0, "pgpool_node_id file is empty", ""
	}
	const maxDigits = 8
	digits := string(line)
	if len(digits) > maxDigits || len(bytes.Trim(line, "0123456789")) != 0 {
		return 0, "pgpool_node_id is not a numeric value", "the first line must consist of digits"
	}
	id, err = strconv.Atoi(digits)
	if err != nil || id > FamilyWatchdog.maxIndex() {
		return 0, fmt.Sprintf("Invalid pgpool node id \"%s\", must be between 0 and %d", digits, FamilyWatchdog.maxIndex()), ""
	}
	return id, "", ""
}
