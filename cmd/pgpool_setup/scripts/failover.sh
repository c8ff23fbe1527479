#!/bin/sh
# failover_command: promotes the new main node if it was the primary that failed.
# Arguments: %d %h %p %D %m %H %M %P %r %R %N %S
dir=@DIR@
failed=$1 new_main=$5 old_primary=$8 new_data=${10}
exec >>"$dir/log/failover.log" 2>&1
echo "$(date) node $failed failed, new main node $new_main, primary was $old_primary"
if [ "$new_main" -lt 0 ]; then
	echo "no node is left"
	exit 0
fi
[ "$failed" = "$old_primary" ] || exit 0
@PGBIN@/pg_ctl -w -D "$new_data" promote
