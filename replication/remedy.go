package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/replication/conninfo"
)

const (
	// sqlBound is how long what is done by SQL may take.
	sqlBound = 10 * time.Second
	// gentle is how long a server may take to shut down cleanly before it is stopped at once.
	gentle = 30 * time.Second
	// checkpointBound is how long the primary may take to write what it has in memory.
	checkpointBound = 10 * time.Minute
)

// remedy is one being applied.
type remedy struct {
	k             *Keeper
	f             *Facts
	node, primary cluster.Node
	term          cluster.Term
	try           int
	watch         watch
}

// apply does it and returns when it is done.
func (r *remedy) apply(ctx context.Context, what Remedy) error {
	began := time.Now()
	var err error
	switch what {
	case None, Attach, Detach:
		panic("replication: nothing to apply")
	case Repoint:
		err = r.repoint(ctx)
	case AsItIs, Rewind, BaseBackup:
		err = r.rejoin(ctx, what)
	case Start:
		err = r.start(ctx)
	}
	if err == nil {
		r.k.tell(r.node.ID, logging.Log, "node %d: done after %v (%v), it is to stream from node %d",
			r.node.ID, time.Since(began).Round(time.Millisecond), what, r.primary.ID)
	}
	return err
}

// streamer is who standbys stream as; an empty user is whoever they do now.
func (r *remedy) streamer() (user, password string, err error) {
	s := r.k.parts.Settings()
	if s.ReplicationUser == "" {
		return "", "", nil
	}
	password, err = r.k.parts.Password(s.ReplicationUser, s.ReplicationPassword)
	if err != nil {
		return "", "", fmt.Errorf("password of user %q: %w", s.ReplicationUser, err)
	}
	return s.ReplicationUser, password, nil
}

// repoint has a running standby stream from the primary. Its slot is there before it comes.
func (r *remedy) repoint(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, sqlBound)
	defer cancel()
	at := &r.f.Nodes[r.node.ID]
	user, password, err := r.streamer()
	if err != nil {
		return err
	}
	info, err := conninfo.Parse(at.State.ConnInfo)
	if err != nil {
		return fmt.Errorf("primary_conninfo: %w", err)
	}
	if user == "" && at.State.ConnInfo == "" {
		return errors.New("it has no primary_conninfo: set replication_user")
	}
	if err := r.slot(bounded, at.State.SlotName); err != nil {
		return err
	}
	if err := info.Follow(cluster.Source{Host: r.primary.Host, Port: r.primary.Port, User: user, Password: password}); err != nil {
		return err
	}
	err = r.k.links.use(bounded, r.node, func(s *server) error { return s.alter(bounded, "primary_conninfo", info.String()) })
	if err != nil || at.Version >= 13 || at.Version == 0 {
		return err
	}
	h, err := r.k.parts.Host(r.node) // before version 13 it is read at the start only
	if err != nil {
		return fmt.Errorf("PostgreSQL %d must be started again to stream from somebody else: %w", at.Version, err)
	}
	if err := r.halt(ctx, h, cluster.StopFast); err != nil {
		return err
	}
	return h.Start(ctx, r.term)
}

// alter changes a setting of a server and has it read. The statement may hold a password, so the server is asked not to log it, as far
// as we may.
func (s *server) alter(ctx context.Context, name, value string) error {
	for _, quiet := range []string{
		"SET log_statement = 'none'", "SET log_min_duration_statement = -1", "SET log_min_error_statement = 'panic'",
	} {
		if err := s.exec(ctx, quiet); err != nil && sqlState(err) == "" {
			return err
		}
	}
	if err := s.exec(ctx, "ALTER SYSTEM SET "+name+" = "+literal(value)); err != nil {
		return fmt.Errorf("ALTER SYSTEM SET %s: %w", name, shorten(err))
	}
	return s.exec(ctx, "SELECT pg_reload_conf()")
}

// slot makes a replication slot at the primary, which holds WAL from now on. An empty name is none.
func (r *remedy) slot(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	sql := "SELECT pg_create_physical_replication_slot(" + literal(name) + ", true)" +
		" WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = " + literal(name) + ")"
	err := r.k.links.use(ctx, r.primary, func(s *server) error { return s.exec(ctx, sql) })
	if sqlState(err) == duplicateObject {
		return nil
	}
	if err != nil {
		return fmt.Errorf("replication slot %q at node %d: %w", name, r.primary.ID, shorten(err))
	}
	return nil
}

const duplicateObject = "42710"

// rejoin makes a server that has been something else a standby of the primary.
func (r *remedy) rejoin(ctx context.Context, what Remedy) error {
	h, err := r.k.parts.Host(r.node)
	if err != nil {
		return err
	}
	src, err := r.source()
	if err != nil {
		return err
	}
	slots, cancel := context.WithTimeout(ctx, sqlBound)
	defer cancel()
	if err := r.slot(slots, src.SlotName); err != nil {
		return err
	}
	if err := r.halt(ctx, h, r.mode(what)); err != nil {
		return err
	}
	switch what {
	case AsItIs:
		err = h.Standby(ctx, r.term, src)
	case Rewind:
		err = r.rewind(ctx, h, src)
	case BaseBackup:
		err = h.BaseBackup(ctx, r.term, src)
	case None, Attach, Detach, Repoint, Start:
		panic("replication: no way to rejoin")
	}
	if err != nil {
		return err
	}
	r.watch.led.Store(&src)
	return r.startBy(ctx, h)
}

// mode is how a server is stopped before: a shutdown writes a checkpoint, which one that is to go on as it is must not have, and which a
// rewind needs.
func (r *remedy) mode(what Remedy) cluster.StopMode {
	if what == Rewind && r.f.Nodes[r.node.ID].State.Err == nil {
		return cluster.StopFast
	}
	return cluster.StopNow
}

// halt stops the server, in the end by force.
func (r *remedy) halt(ctx context.Context, h Host, mode cluster.StopMode) error {
	if mode == cluster.StopFast {
		bounded, cancel := context.WithTimeout(ctx, gentle)
		defer cancel()
		if _, err := h.Stop(bounded, r.term, mode); err == nil || bounded.Err() == nil || ctx.Err() != nil {
			return err
		}
	}
	_, err := h.Stop(ctx, r.term, cluster.StopNow)
	return err
}

// rewind logs in to the primary as the account that may do everything there, and leaves the standby with the one it streams as. Where
// that one is not let in from the node's host, the one that streams may be: they take turns.
func (r *remedy) rewind(ctx context.Context, h Host, src cluster.Source) error {
	account := r.k.parts.Settings().Account
	password, err := r.k.parts.Password(account.User, account.Password)
	if err != nil {
		return fmt.Errorf("password of user %q: %w", account.User, err)
	}
	if err := r.checkpoint(ctx); err != nil {
		return err
	}
	all := src
	streams := streamsAs(&src)
	if streams == "" || r.try%2 == 0 {
		all.User, all.Password = account.User, password
	}
	if err := h.Rewind(ctx, r.term, all); err != nil {
		return err
	}
	if streams == "" || src.User == all.User && src.Password == all.Password {
		return nil
	}
	return h.Standby(ctx, r.term, src)
}

var errNoCheckpoint = errors.New("the primary has made no checkpoint since its promotion")

// checkpoint has the primary's control file tell its timeline, which pg_rewind before version 17 believes. Without the right to make a
// checkpoint the server's own is waited for.
func (r *remedy) checkpoint(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, checkpointBound)
	defer cancel()
	return r.k.links.use(bounded, r.primary, func(s *server) error {
		if err := s.exec(bounded, "CHECKPOINT"); err != nil && sqlState(err) != notAllowed {
			return fmt.Errorf("checkpoint at node %d: %w", r.primary.ID, shorten(err))
		}
		row, err := s.row(bounded, "SELECT timeline_id FROM pg_control_checkpoint()", 1)
		if err != nil {
			return fmt.Errorf("checkpoint at node %d: %w", r.primary.ID, shorten(err))
		}
		at := reader{row: row}
		if t := cluster.Timeline(at.number()); at.err == nil && t < r.f.Nodes[r.primary.ID].State.Timeline {
			return errNoCheckpoint
		}
		return at.err
	})
}

const notAllowed = "42501" // insufficient_privilege

// source describes the primary to the node's host.
func (r *remedy) source() (cluster.Source, error) {
	s := cluster.Source{
		Host: r.primary.Host, Port: r.primary.Port, Database: r.k.parts.Settings().Account.Database,
		ApplicationName: r.node.ApplicationName, Timeline: r.f.Nodes[r.primary.ID].State.Timeline,
	}
	known := r.k.heard(r.node.ID).state
	if s.ApplicationName == "" {
		s.ApplicationName = known.ApplicationName
	}
	if s.SlotName = known.SlotName; s.SlotName == "" && r.slotsUsed() {
		s.SlotName = fmt.Sprintf("pgpool_node_%d", r.node.ID)
	}
	var err error
	if s.User, s.Password, err = r.streamer(); err != nil {
		return s, err
	}
	login := r.login(s.User)
	s.Login = login.String()
	return s, nil
}

// login is how the node is to log in at the primary where it does not know itself, as a user ("": any): as it was heard to do, else as the
// other servers do, the primary before it was one included.
func (r *remedy) login(user string) conninfo.Info {
	var own conninfo.Info
	var others []conninfo.Info
	for _, id := range append([]cluster.NodeID{r.primary.ID}, r.ids()...) {
		info, err := conninfo.Parse(r.k.heard(id).state.ConnInfo)
		switch {
		case err != nil: // it does not stream by that
		case id == r.node.ID:
			own = info
		default:
			others = append(others, info)
		}
	}
	return conninfo.Compose(user, own, others)
}

// streamsAs is the user whom a source names, by order or as others do; "" is none.
func streamsAs(s *cluster.Source) string {
	if s.User != "" {
		return s.User
	}
	login, err := conninfo.ParseLogin(s.Login)
	if err != nil {
		return ""
	}
	return login.Get("user")
}

// slotsUsed reports whether the other servers use replication slots.
func (r *remedy) slotsUsed() bool {
	for _, id := range r.ids() {
		if id != r.node.ID && r.k.heard(id).state.SlotName != "" {
			return true
		}
	}
	return false
}

func (r *remedy) ids() []cluster.NodeID {
	ids := make([]cluster.NodeID, len(r.f.Nodes))
	for i := range ids {
		ids[i] = cluster.NodeID(i)
	}
	return ids
}

func (r *remedy) start(ctx context.Context) error {
	h, err := r.k.parts.Host(r.node)
	if err != nil {
		return err
	}
	if err := r.halt(ctx, h, cluster.StopNow); err != nil { // what a crash has left
		return err
	}
	return r.startBy(ctx, h)
}
