#!/bin/sh
# recovery_1st_stage_command: makes a stopped node a copy of this server and its standby.
# Arguments: data directory here, host and data directory of the node, port here, number and port of the node, host here.
dir=@DIR@
data=$3 source_port=$4 node=$5 port=$6 source_host=${7:-localhost}
source="host=$source_host port=$source_port user=@USER@"
exec >>"$dir/log/recovery.log" 2>&1
echo "$(date) node $node is copied from $source"
set -e
if [ @REWIND@ != yes ] || ! @PGBIN@/pg_rewind -D "$data" --source-server="$source dbname=postgres"; then
	rm -rf "$data"
	@PGBIN@/pg_basebackup -D "$data" -d "$source" -c fast -X stream
fi
# What @NODECONF@ says of this server has to be said of the node.
sed -i -e "s/^port = .*/port = '$port'/" -e "s/^cluster_name = .*/cluster_name = 'server$node'/" \
	-e "s|/archivedir/data[0-9]*|/archivedir/data$node|" "$data/@NODECONF@"
{
	echo "primary_conninfo = '$source application_name=server$node'"
	echo "recovery_target_timeline = 'latest'"
} >"$data/myrecovery.conf"
if [ @SLOTS@ = yes ]; then
	slot=@SLOT@$node
	@PGBIN@/psql -X -q -d "$source dbname=postgres" -c "SELECT pg_create_physical_replication_slot('$slot')
		WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '$slot')" >/dev/null
	echo "primary_slot_name = '$slot'" >>"$data/myrecovery.conf"
else
	echo "restore_command = 'cp $dir/archivedir/data${1##*data}/%f %p'" >>"$data/myrecovery.conf"
fi
: >"$data/standby.signal"
