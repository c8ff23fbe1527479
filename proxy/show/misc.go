package show

import (
	"strconv"

	"gopgpool/cluster"
)

// PoolVersion answers SHOW pool_version. The version is ours, as in 0.1; tools read the number before it, which is that of the
// Pgpool-II release whose behaviour is promised.
func PoolVersion(version string) Result {
	return table([]string{"pool_version"}, [][]string{{"4.7.2 (gopgpool " + version + ")"}})
}

// Cache is what SHOW pool_cache is made of. The zero value is a cache that is off.
type Cache struct {
	Hits, Selects              uint64
	HashEntries, UsedHash      uint64
	Entries                    uint64
	UsedSize, FreeSize, Wasted uint64 // bytes
}

// PoolCache answers SHOW pool_cache.
func PoolCache(c Cache) Result {
	columns := []string{
		"num_cache_hits", "num_selects", "cache_hit_ratio", "num_hash_entries", "used_hash_entries",
		"num_cache_entries", "used_cache_entries_size", "free_cache_entries_size", "fragment_cache_entries_size",
	}
	ratio := 0.0
	if all := c.Hits + c.Selects; all > 0 {
		ratio = float64(c.Hits) / float64(all)
	}
	return table(columns, [][]string{{
		number(c.Hits), number(c.Selects), strconv.FormatFloat(ratio, 'f', 2, 64),
		number(c.HashEntries), number(c.UsedHash), number(c.Entries),
		number(c.UsedSize), number(c.FreeSize), number(c.Wasted),
	}})
}

// CacheDelete answers PGPOOL SET CACHE DELETE: whether the result of the query was in the cache is told in a notice.
func CacheDelete(query string, deleted bool) Result {
	text := "query cache does not exist for query: "
	if deleted {
		text = "query cache deleted. query: "
	}
	return Result{Tag: "SET", Notice: text + `"` + query + `"`}
}

// Route is one row of EXPLAIN ROUTE: where a statement would go, and why.
type Route struct {
	Node   cluster.NodeID
	Reason string
}

// ExplainRoute answers PGPOOL EXPLAIN ROUTE, an addition of ours: one row for each node the statement would be sent to, with
// the reason. A statement that would go nowhere has one row with NoNode, whose node_id is empty.
func ExplainRoute(view *cluster.View, routes []Route) Result {
	rows := make([][]string, len(routes))
	for i, r := range routes {
		id, role := "", ""
		if r.Node >= 0 && int(r.Node) < len(view.Nodes) {
			id, role = strconv.Itoa(int(r.Node)), view.Nodes[r.Node].Role.String()
		}
		rows[i] = []string{id, role, r.Reason}
	}
	return table([]string{"node_id", "role", "reason"}, rows)
}
