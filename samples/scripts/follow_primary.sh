#!/bin/bash
# Makes a node that is down a standby of the new primary and attaches it. Nodes whose server does not run are passed over: they are
# for pcp_recovery_node.
#
#   follow_primary_command = '/etc/pgpool-II/follow_primary.sh %d %h %p %D %m %H %M %P %r %R'
#
# The order of old configurations, %d %h %p %D %m %M %H %P %r %R, is understood as well. Runs on the host and as the user of pgpool,
# who needs ssh without a password to SSH_USER on every server, and an entry in ~/.pcppass. What it prints goes to pgpool's log.
# pg_rewind needs wal_log_hints or data checksums on the servers and an entry of REWIND_USER in PASSFILE; where it does not do,
# recovery_1st_stage and pgpool_remote_start in the new primary's data directory copy the whole server.
set -euo pipefail

# ---- settings of this site ---------------------------------------------------------------------------------------------
PGHOME=/usr/lib/postgresql/15          # the PostgreSQL programs are in PGHOME/bin on all servers
PGSOCKETDIR=/var/run/postgresql        # the servers' unix socket directory
SSH_USER=postgres                      # the user the servers run as, on all servers
SSH_KEY=id_rsa_pgpool                  # a file in ~/.ssh, on all hosts; without a pass phrase
REPL_USER=repl                         # may replicate
REWIND_USER=postgres                   # superuser, or may do what pg_rewind asks for
PASSFILE=/var/lib/postgresql/.pgpass   # password file on the servers
ARCHIVEDIR=                            # if set: where the servers archive to; a standby then restores from there by scp
STARTLOG=startup.log                   # in the data directory: what the server says before it opens its own log
PCP_ATTACH_NODE=pcp_attach_node        # with its path, if it is not in PATH
PCP_USER=pgpool
PCP_HOST=localhost
PCP_PORT=9898
# ------------------------------------------------------------------------------------------------------------------------
SSH=(ssh -T -i ~/.ssh/"$SSH_KEY" -o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=accept-new)

say() { echo "follow_primary.sh: $*" >&2; }
die() { say "$*"; exit 1; }

# quoted prints its arguments as words of a shell.
quoted() { local w; for w in "$@"; do printf " '%s'" "${w//\'/\'\\\'\'}"; done; }

# on HOST ARGUMENTS... runs the shell script on standard input on that host.
on() { local host=$1; shift; "${SSH[@]}" "$SSH_USER@$host" "/bin/bash -s --$(quoted "$@")"; }

# slot_of HOST prints the name of the replication slot of the standby on that host.
slot_of() { LC_ALL=C tr '[:upper:]' '[:lower:]' <<<"$1" | LC_ALL=C tr -c 'a-z0-9_\n' '_' | cut -c 1-63; }

# on_primary TEXT runs SQL on the new primary; :'slot' is the slot's name.
on_primary() {
	on "$new_host" "$PGHOME" "$PGSOCKETDIR" "$new_port" "$slot" "$1" <<-'END'
		set -eu
		"$1/bin/psql" -X -q -At -h "$2" -p "$3" -d postgres -v ON_ERROR_STOP=1 -v slot="$4" <<<"$5" >/dev/null
	END
}
drop_slot() {
	on_primary "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = :'slot' AND NOT active"
}

# rewind turns the node's server back to where the new primary left the common history, and starts it as a standby. The new
# primary's settings come along, so the node's own are written again.
rewind() {
	on "$node_host" "$PGHOME" "$node_data" "$new_host" "$new_port" "$node_host" "$node_port" "$slot" "$REPL_USER" "$REWIND_USER" \
		"$PASSFILE" "$ARCHIVEDIR" "$SSH_USER" "$SSH_KEY" "$STARTLOG" <<'END'
set -euo pipefail
pghome=$1 data=$2 primary_host=$3 primary_port=$4 host=$5 port=$6 slot=$7 user=$8 rewind_user=$9
passfile=${10} archive=${11} ssh_user=${12} key=${13} log=${14}
conninfo() { printf "%s='%s' " "$1" "$(sed "s/[\\\\']/\\\\&/g" <<<"$2")"; }
setting() { printf "%s = '%s'\n" "$1" "$(sed "s/'/''/g; s/\\\\/\\\\\\\\/g" <<<"$2")"; }
word() { printf "'%s'" "${1//\'/\'\\\'\'}"; }

source="$(conninfo host "$primary_host")$(conninfo port "$primary_port")$(conninfo passfile "$passfile")"
"$pghome/bin/pg_ctl" -D "$data" -m fast -w stop >&2
"$pghome/bin/pg_rewind" -D "$data" --source-server="$source$(conninfo user "$rewind_user")dbname=postgres" >&2

major=$(cut -d . -f 1 "$data/PG_VERSION")
recovery=$data/myrecovery.conf own=$data/myrecovery.conf
if [ "$major" -lt 12 ]; then
	recovery=$data/recovery.conf own=$data/myport.conf
	echo "standby_mode = 'on'" >"$recovery"
else
	: >"$recovery"
	touch "$data/standby.signal"
fi
{
	setting primary_conninfo "$source$(conninfo user "$user")$(conninfo application_name "$host")"
	setting primary_slot_name "$slot"
	setting recovery_target_timeline latest
	if [ -n "$archive" ]; then
		options="-o BatchMode=yes -o ConnectTimeout=3 -o StrictHostKeyChecking=accept-new"
		setting restore_command "scp -q -i $(word ~/.ssh/"$key") $options $(word "$ssh_user@$primary_host:$archive/%f") %p"
	fi
} >>"$recovery"
setting port "$port" >>"$own"
include="include_if_exists = '$(basename "$own")'"
grep -qxF "$include" "$data/postgresql.conf" || printf '\n%s\n' "$include" >>"$data/postgresql.conf"
"$pghome/bin/pg_ctl" -D "$data" -l "$data/$log" -w start >/dev/null || { tail -n 20 "$data/$log" >&2; exit 1; }
END
}

# copy replaces the node's server by a base backup and starts it.
copy() {
	on "$new_host" "$PGHOME" "$new_data" "$node_host" "$node_data" "$new_port" "$node_id" "$node_port" "$new_host" <<'END'
set -eu
pghome=$1 source=$2 host=$3 data=$4 port=$5 id=$6 node_port=$7 source_host=$8
cd "$source"
for script in ./recovery_1st_stage ./pgpool_remote_start; do
	if [ ! -x "$script" ]; then echo "$script is missing in $source on $source_host" >&2; exit 1; fi
done
./recovery_1st_stage "$source" "$host" "$data" "$port" "$id" "$node_port" "$source_host" </dev/null >&2
./pgpool_remote_start "$host" "$data" </dev/null >&2
END
}

if [ $# -lt 10 ]; then
	die "usage: node's id, host, port, data directory; new primary's id, host; old main node's id; old primary's id;" \
		"new primary's port, data directory"
fi
node_id=$1 node_host=$2 node_port=$3 node_data=$4 new_id=$5 new_host=$6 new_port=$9 new_data=${10}
if [[ $6 =~ ^-?[0-9]+$ ]]; then
	new_host=$7
fi
slot=$(slot_of "$node_host")

say "node $node_id on $node_host is to follow the new primary, node $new_id on $new_host"
"${SSH[@]}" -n "$SSH_USER@$new_host" true || die "$SSH_USER@$new_host is not to be reached by ssh"

if ! on "$node_host" "$PGHOME" "$node_data" <<'END'; then
"$1/bin/pg_ctl" -D "$2" status >/dev/null
END
	say "the server of node $node_id does not run: passed over"
	exit 0
fi

# A rewind sees the new primary's timeline only behind a checkpoint.
on_primary "CHECKPOINT; SELECT pg_create_physical_replication_slot(:'slot', true)
	WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = :'slot')" ||
	die "no replication slot $slot can be made on the new primary"

if rewind; then
	say "node $node_id was rewound and follows node $new_id"
else
	say "node $node_id cannot be rewound, copying the new primary to it"
	on "$node_host" "$PGHOME" "$node_data" <<-'END' || true # it may have been stopped already
		"$1/bin/pg_ctl" -D "$2" -m fast -w stop >/dev/null 2>&1
	END
	if ! copy; then
		drop_slot || say "replication slot $slot stays on $new_host, please look after it"
		die "node $node_id does not follow the new primary"
	fi
	say "node $node_id was copied and follows node $new_id"
fi

"$PCP_ATTACH_NODE" -w -h "$PCP_HOST" -U "$PCP_USER" -p "$PCP_PORT" -n "$node_id" || die "node $node_id could not be attached"
