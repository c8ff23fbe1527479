package agent

import (
	"context"

	"gopgpool/cluster"
)

// Promote makes a running standby a primary and returns when it is one (pg_ctl promote).
func (l *Local) Promote(context.Context, cluster.Term) error { return cluster.ErrNeedsAgent }

// Standby makes a stopped server a standby of src at its next start.
func (l *Local) Standby(context.Context, cluster.Term, cluster.Source) error {
	return cluster.ErrNeedsAgent
}

// Rewind takes a stopped server back to where it and src parted (pg_rewind), then is Standby.
func (l *Local) Rewind(context.Context, cluster.Term, cluster.Source) error {
	return cluster.ErrNeedsAgent
}

// BaseBackup replaces a stopped server by a copy of src, then is Standby.
func (l *Local) BaseBackup(context.Context, cluster.Term, cluster.Source) error {
	return cluster.ErrNeedsAgent
}
