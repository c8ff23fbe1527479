package loop

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"testing"
)

// A client that is given another configuration does not have it signed on the loop.
func TestOffloadedKeysOfChosenConfig(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	plain := &tls.Config{Certificates: []tls.Certificate{{PrivateKey: key}}}
	cfg := plain.Clone()
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return plain, nil }
	onEngines(t, func(w *world) {
		_, done := w.connected("session", func(t *Task, c *Conn) {
			chosen, err := t.WithOffloadedKeys(cfg).GetConfigForClient(nil)
			if err != nil {
				w.Error(err)
				return
			}
			if _, offloaded := chosen.Certificates[0].PrivateKey.(offloadedKey); !offloaded {
				w.Error("the key of the chosen configuration signs on the loop")
			}
			if plain.Certificates[0].PrivateKey != key {
				w.Error("the configuration itself was changed")
			}
			_ = c.Close()
		})
		<-done
	})
}
