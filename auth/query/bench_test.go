package query

import (
	"fmt"
	"os"
	"testing"
	"time"

	"gopgpool/cluster"
)

// BenchmarkEntry is what auth_query costs a login: one round trip over a connection that is there.
func BenchmarkEntry(b *testing.B) {
	n := shared.Cluster(b).Nodes[0]
	if err := n.Exec(b.Context(), "CREATE ROLE bench LOGIN PASSWORD 'a'"); err != nil {
		b.Fatal(err)
	}
	for _, callers := range []int{1, 8} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			a, err := New(Parts{
				Store: cluster.NewStore(viewOf(0, n)), Password: func(_, param string) (string, error) { return param, nil },
				Settings: func() Settings {
					return Settings{Entries: Account{User: "postgres", Password: superPassword}, Query: defaultQuery, Timeout: time.Minute}
				},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer a.close()
			b.SetParallelism(callers)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := a.Entry(b.Context(), "postgres", "bench"); err != nil {
						fmt.Fprintln(os.Stderr, err)
						b.Fail()
					}
				}
			})
		})
	}
}
