package proxy

import (
	"fmt"
	"sync"
)

// clientCounts counts the client sessions of databases and users, for max_db_client_connections and max_user_client_connections.
type clientCounts struct {
	mu    sync.Mutex
	dbs   map[string]int // guarded by mu
	users map[string]int // guarded by mu
}

// enter counts a session, or refuses it.
func (c *clientCounts) enter(database, user string, maxDB, maxUser int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dbs == nil {
		c.dbs, c.users = make(map[string]int), make(map[string]int)
	}
	switch {
	case maxDB > 0 && c.dbs[database] >= maxDB:
		return tooManyOf("database", database, "max_db_client_connections")
	case maxUser > 0 && c.users[user] >= maxUser:
		return tooManyOf("user", user, "max_user_client_connections")
	}
	c.dbs[database]++
	c.users[user]++
	return nil
}

// leave ends what enter has counted.
func (c *clientCounts) leave(database, user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dbs[database]--; c.dbs[database] == 0 {
		delete(c.dbs, database)
	}
	if c.users[user]--; c.users[user] == 0 {
		delete(c.users, user)
	}
}

func tooManyOf(what, name, parameter string) error {
	return &clientError{
		Severity: "FATAL", Code: "53300", Message: fmt.Sprintf("too many clients of %s %q", what, name),
		Hint: "See the parameter " + parameter + ".",
	}
}

// count counts the session among the clients of its database and user.
func (s *session) count() error {
	err := s.srv.clients.enter(s.startup.Database, s.startup.User, s.pooling.MaxDBClients, s.pooling.MaxUserClients)
	s.counted = err == nil
	return err
}

// uncount ends that.
func (s *session) uncount() {
	if s.counted {
		s.counted = false
		s.srv.clients.leave(s.startup.Database, s.startup.User)
	}
}
