package health

import (
	"context"
	"strconv"
	"strings"

	"gopgpool/cluster"
)

// receiver is the row of a standby's pg_stat_wal_receiver. The zero value is a standby that does not stream, or does not tell:
// reading the view takes the role pg_monitor.
type receiver struct {
	Status, Host string
	Port         int
}

// The view under version 11 and later, and under 9.6 and 10, where the connection string is all there is.
const (
	receiverSQL    = "SELECT status, sender_host, sender_port, '' FROM pg_catalog.pg_stat_wal_receiver"
	receiverSQL9_6 = "SELECT status, '', '', conninfo FROM pg_catalog.pg_stat_wal_receiver"
)

// receiver asks a standby whom it streams from.
func (c *Conn) receiver(ctx context.Context) (receiver, error) {
	sql := receiverSQL
	switch version := c.pg.ParameterStatus("server_version"); {
	case !hasReceiver(version):
		return receiver{}, nil
	case major(version) < 11:
		sql = receiverSQL9_6
	}
	rows, err := c.query(ctx, sql)
	if err != nil || len(rows) != 1 || len(rows[0]) != 4 {
		return receiver{}, err
	}
	row := rows[0]
	r := receiver{Status: string(row[0]), Host: string(row[1])}
	port := string(row[2])
	if conninfo := string(row[3]); conninfo != "" {
		r.Host, port = conninfoPart(conninfo, "host"), conninfoPart(conninfo, "port")
	}
	r.Port, _ = strconv.Atoi(port) // none is no port
	return r, nil
}

// hasReceiver reports whether a server has the view: since 9.6.
func hasReceiver(version string) bool {
	return major(version) >= 10 || strings.HasPrefix(version, "9.6")
}

// conninfoPart finds a value in a connection string. Values are quoted as libpq does: with ', and a backslash before ' and itself.
func conninfoPart(conninfo, key string) string {
	for rest := conninfo; rest != ""; {
		name, after, _ := strings.Cut(rest, "=")
		value, left := conninfoValue(after)
		if strings.TrimSpace(name) == key {
			return value
		}
		rest = left
	}
	return ""
}

// conninfoValue reads one value and returns what follows it.
func conninfoValue(s string) (value, rest string) {
	s = strings.TrimLeft(s, " ")
	quoted := strings.HasPrefix(s, "'")
	if quoted {
		s = s[1:]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
		case quoted && s[i] == '\'', !quoted && s[i] == ' ':
			return b.String(), s[i+1:]
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// upstreamOf finds the node a standby streams from, by the texts of host and port alone (manual: detach_false_primary): NoNode
// where it does not stream or streams from nobody we know. A node behind a socket directory is known under an empty host too,
// and under localhost.
func upstreamOf(v *cluster.View, standby int, r receiver) cluster.NodeID {
	if r.Status != "streaming" {
		return cluster.NoNode
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		if i == standby || n.Status == cluster.StatusUnused || n.Port != r.Port {
			continue
		}
		if n.Host == r.Host || strings.HasPrefix(n.Host, "/") && (r.Host == "" || r.Host == "localhost") {
			return cluster.NodeID(i)
		}
	}
	return cluster.NoNode
}
