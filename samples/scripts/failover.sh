#!/bin/bash
# Promotes the new main node when the primary is lost; does nothing but tidy up when a standby is lost.
#
#   failover_command = '/etc/pgpool-II/failover.sh %d %h %p %D %m %H %M %P %r %R %N %S'
#
# The last two may be left out. Runs on the host and as the user of pgpool, who needs ssh without a password to SSH_USER on
# every server. What it prints goes to pgpool's log. It must not connect to pgpool, which waits for it.
set -euo pipefail

# ---- settings of this site ---------------------------------------------------------------------------------------------
PGHOME=/usr/lib/postgresql/15     # the PostgreSQL programs are in PGHOME/bin on all servers
PGSOCKETDIR=/var/run/postgresql   # the servers' unix socket directory
SSH_USER=postgres                 # the user the servers run as, on all servers
SSH_KEY=id_rsa_pgpool             # a file in ~/.ssh, on all hosts; without a pass phrase
DROP_SLOT=on                      # drop the replication slot of a lost standby, so that it keeps no WAL on the primary
# ------------------------------------------------------------------------------------------------------------------------
SSH=(ssh -T -i ~/.ssh/"$SSH_KEY" -o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=accept-new)

say() { echo "failover.sh: $*" >&2; }
die() { say "$*"; exit 1; }

# quoted prints its arguments as words of a shell.
quoted() { local w; for w in "$@"; do printf " '%s'" "${w//\'/\'\\\'\'}"; done; }

# on HOST ARGUMENTS... runs the shell script on standard input on that host.
on() { local host=$1; shift; "${SSH[@]}" "$SSH_USER@$host" "/bin/bash -s --$(quoted "$@")"; }

# slot_of HOST prints the name of the replication slot of the standby on that host.
slot_of() { LC_ALL=C tr '[:upper:]' '[:lower:]' <<<"$1" | LC_ALL=C tr -c 'a-z0-9_\n' '_' | cut -c 1-63; }

if [ $# -lt 10 ]; then
	die "usage: failed node's id, host, port, data directory; new main node's id, host; old main node's id;" \
		"old primary's id; new main node's port, data directory [; old primary's host, port]"
fi
failed_id=$1 failed_host=$2 new_id=$5 new_host=$6 old_primary_id=$8 new_data=${10}
old_primary_host=${11:-} old_primary_port=${12:-}

if [ "$new_id" -lt 0 ]; then
	say "node $failed_id was lost: all nodes are down, nothing to promote"
	exit 0
fi

if [ "$failed_id" -ne "$old_primary_id" ]; then
	say "standby node $failed_id on $failed_host was lost, the primary is still node $old_primary_id"
	if [ "$DROP_SLOT" = on ] && [ -n "$old_primary_host" ] && [ "$old_primary_id" -ge 0 ]; then
		on "$old_primary_host" "$PGHOME" "$PGSOCKETDIR" "$old_primary_port" "$(slot_of "$failed_host")" <<-'END' ||
			set -eu
			"$1/bin/psql" -X -q -At -h "$2" -p "$3" -d postgres -v ON_ERROR_STOP=1 -v slot="$4" <<'SQL'
			SELECT 'dropped replication slot ' || slot_name FROM (
				SELECT slot_name, pg_drop_replication_slot(slot_name)
				FROM pg_replication_slots WHERE slot_name = :'slot' AND NOT active
			) AS dropped;
			SQL
		END
			say "the replication slot of $failed_host on $old_primary_host could not be dropped, please look after it"
	fi
	exit 0
fi

say "primary node $failed_id on $failed_host was lost, promoting node $new_id on $new_host"
on "$new_host" "$PGHOME" "$new_data" "$SSH_USER@$failed_host" "$SSH_KEY" <<'END' ||
set -eu
export LC_ALL=C
if "$1/bin/pg_controldata" "$2" | grep -q '^Database cluster state: *in production$'; then
	echo "the server is a primary already" >&2
	exit 0
fi
# A promotion asks the old primary's archive for what is left. Where that host is gone, each question would cost a time-out.
if grep -qs '^restore_command' "$2/myrecovery.conf" &&
	! timeout 3 ssh -n -T -i ~/.ssh/"$4" -o BatchMode=yes -o ConnectTimeout=1 -o StrictHostKeyChecking=accept-new "$3" true; then
	sed -i '/^restore_command/d' "$2/myrecovery.conf"
	"$1/bin/pg_ctl" -D "$2" reload >&2
fi
"$1/bin/pg_ctl" -D "$2" -w promote >&2
END
	die "node $new_id on $new_host could not be promoted"
say "node $new_id on $new_host is the primary now"
