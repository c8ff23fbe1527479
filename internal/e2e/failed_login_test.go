package e2e

import (
	"slices"
	"testing"
	"time"

	"gopgpool/auth"
	"gopgpool/internal/pgcluster"
)

// BenchmarkFailedLogin measures how long logins take to fail, by the record's method and by why they fail. What is computed for them is
// compared, by count, in package auth; here a difference would have to come from what stands around that.
func BenchmarkFailedLogin(b *testing.B) {
	key := auth.NewKey(keyPhrase)
	encrypted, err := key.Encrypt(password)
	if err != nil {
		b.Fatal(err)
	}
	for _, method := range []string{"scram-sha-256", "md5", "password"} {
		p := shared.Pgpool(b, pgcluster.PgpoolOptions{
			Conf: map[string]string{"enable_pool_hba": "on", "auth_delay": "0"},
			HBA:  "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 " + method + "\n",
			Passwd: "clear:TEXT" + password + "\nhashed:" + auth.MD5Hash(password, "hashed") + "\nundecryptable:AES" + encrypted + "\nverifier:" +
				"SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
		})
		for _, user := range []string{"unknown", "clear", "hashed", "undecryptable", "verifier"} {
			b.Run(method+"/"+user, func(b *testing.B) {
				var took []time.Duration
				for b.Loop() {
					began := time.Now()
					if _, err := p.Connect(b.Context(), "user="+user, "password=wrong"); sqlState(err) != "28P01" {
						b.Fatal(err)
					}
					took = append(took, time.Since(began))
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs/median")
			})
		}
	}
}
