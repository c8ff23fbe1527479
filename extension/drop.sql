-- Parameters had other names in older releases, so their functions are not replaced but made anew.
DROP FUNCTION IF EXISTS pgpool_recovery(text, text, text);
DROP FUNCTION IF EXISTS pgpool_recovery(text, text, text, text);
DROP FUNCTION IF EXISTS pgpool_recovery(text, text, text, text, integer);
DROP FUNCTION IF EXISTS pgpool_recovery(text, text, text, text, integer, text);
DROP FUNCTION IF EXISTS pgpool_remote_start(text, text);
DROP FUNCTION IF EXISTS pgpool_switch_xlog(text);
DROP FUNCTION IF EXISTS pgpool_pgctl(text, text);

