\echo To load this file, say: CREATE EXTENSION pgpool_recovery, or ALTER EXTENSION pgpool_recovery UPDATE \quit

-- pgpool_run_script runs a script of the data directory, in that directory, as the user of the server, and returns true or raises
-- "<caller> failed". It serves the functions below. The script is given this server's data directory, if wanted, and the arguments;
-- each reaches it as one word whatever is in it. What the script prints goes to the server's log.
CREATE FUNCTION pgpool_run_script(caller text, script text, with_directory boolean, arguments text[])
RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
	directory text;
	words text[];
	word text;
	command text := 'exec';
	why text;
BEGIN
	IF NOT (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user) THEN
		RAISE EXCEPTION 'must be superuser to use % function', caller USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF script IN ('', '.', '..') OR position('/' IN script) > 0 THEN
		RAISE EXCEPTION '% failed', caller USING ERRCODE = 'invalid_parameter_value',
			DETAIL = 'A script is named by the name of a file in the data directory.';
	END IF;
	directory := current_setting('data_directory');
	words := ARRAY[directory || '/' || script];
	IF with_directory THEN
		words := words || directory;
	END IF;
	-- Between single quotes a shell takes every character but the quote itself as it is; that one stands between double quotes.
	FOREACH word IN ARRAY words || arguments LOOP
		command := command || ' ''' || replace(word, '''', '''"''"''') || '''';
	END LOOP;
	BEGIN
		EXECUTE 'COPY (SELECT 1 WHERE false) TO PROGRAM ' || quote_literal(command || ' </dev/null >&2');
	EXCEPTION WHEN external_routine_exception THEN
		GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL;
		RAISE EXCEPTION '% failed', caller USING ERRCODE = 'external_routine_exception',
			DETAIL = format('script "%s": %s', script, why), HINT = 'What the script said is in the log of the server.';
	END;
	RETURN true;
END
$function$;

-- The scripts of online recovery are given the data directory of this server and all arguments but the first. The shorter forms
-- serve older releases of pgpool.
CREATE FUNCTION pgpool_recovery(
	script_name text, remote_host text, remote_data_directory text, primary_port text, remote_node integer, remote_port text,
	primary_host text
) RETURNS boolean LANGUAGE sql VOLATILE STRICT AS $$
	SELECT @extschema@.pgpool_run_script('pgpool_recovery', script_name, true, ARRAY[
		remote_host, remote_data_directory, primary_port, remote_node::pg_catalog.text, remote_port,
		primary_host])
$$;

CREATE FUNCTION pgpool_recovery(
	script_name text, remote_host text, remote_data_directory text, primary_port text, remote_node integer, remote_port text
) RETURNS boolean LANGUAGE sql VOLATILE STRICT AS $$
	SELECT @extschema@.pgpool_run_script('pgpool_recovery', script_name, true, ARRAY[
		remote_host, remote_data_directory, primary_port, remote_node::pg_catalog.text, remote_port])
$$;

CREATE FUNCTION pgpool_recovery(
	script_name text, remote_host text, remote_data_directory text, primary_port text, remote_node integer
) RETURNS boolean LANGUAGE sql VOLATILE STRICT AS $$
	SELECT @extschema@.pgpool_run_script('pgpool_recovery', script_name, true, ARRAY[
		remote_host, remote_data_directory, primary_port, remote_node::pg_catalog.text])
$$;

CREATE FUNCTION pgpool_recovery(
	script_name text, remote_host text, remote_data_directory text, primary_port text
) RETURNS boolean LANGUAGE sql VOLATILE STRICT AS $$
	SELECT @extschema@.pgpool_run_script('pgpool_recovery', script_name, true, ARRAY[
		remote_host, remote_data_directory, primary_port])
$$;

CREATE FUNCTION pgpool_recovery(
	script_name text, remote_host text, remote_data_directory text
) RETURNS boolean LANGUAGE sql VOLATILE STRICT AS $$
	SELECT @extschema@.pgpool_run_script('pgpool_recovery', script_name, true, ARRAY[
		remote_host, remote_data_directory])
$$;

-- pgpool_remote_start runs the script of that name.
CREATE FUNCTION pgpool_remote_start(remote_host text, remote_data_directory text)
RETURNS boolean LANGUAGE sql VOLATILE STRICT AS $$
	SELECT @extschema@.pgpool_run_script('pgpool_remote_start', 'pgpool_remote_start', false, ARRAY[
		remote_host, remote_data_directory])
$$;

-- pgpool_switch_xlog begins a new WAL segment and returns the path of the old one in the archive, when all of it has arrived there.
CREATE FUNCTION pgpool_switch_xlog(archive_dir text)
RETURNS text
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
	path text;
	segment bigint := 16777216;
BEGIN
	IF NOT (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user) THEN
		RAISE EXCEPTION 'must be superuser to use % function', 'pgpool_switch_xlog' USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF NOT coalesce((SELECT s.isdir FROM pg_stat_file(archive_dir, true) AS s), false) THEN
		RAISE EXCEPTION 'pgpool_switch_xlog failed' USING ERRCODE = 'undefined_file',
			DETAIL = format('There is no directory "%s".', archive_dir);
	END IF;
	IF current_setting('server_version_num')::integer >= 100000 THEN
		EXECUTE 'SELECT pg_walfile_name(pg_switch_wal())' INTO path;
	ELSE
		EXECUTE 'SELECT pg_xlogfile_name(pg_switch_xlog())' INTO path;
	END IF;
	IF current_setting('server_version_num')::integer >= 90600 THEN
		EXECUTE 'SELECT pg_size_bytes(current_setting(''wal_segment_size''))' INTO segment;
	END IF;
	path := rtrim(archive_dir, '/') || '/' || path;
	LOOP
		EXIT WHEN (SELECT s.size FROM pg_stat_file(path, true) AS s) = segment;
		PERFORM pg_sleep(0.1);
	END LOOP;
	RETURN path;
END
$function$;

-- pgpool_pgctl has the program of setting pgpool.pg_ctl stop, restart or reload this server. A stop or restart is only begun; that a
-- reload failed is an error.
CREATE FUNCTION pgpool_pgctl(action text, stop_mode text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
	program text := coalesce(current_setting('pgpool.pg_ctl', true), '');
	command text;
	why text;
BEGIN
	IF NOT (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user) THEN
		RAISE EXCEPTION 'must be superuser to use % function', 'pgpool_pgctl' USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF program = '' THEN
		RAISE EXCEPTION 'pgpool_pgctl failed' USING ERRCODE = 'undefined_object',
			DETAIL = 'Setting pgpool.pg_ctl does not name the program.';
	END IF;
	IF action NOT IN ('stop', 'restart', 'reload') THEN
		RAISE EXCEPTION 'pgpool_pgctl failed' USING ERRCODE = 'invalid_parameter_value',
			DETAIL = format('Action "%s" is none of stop, restart, reload.', action);
	END IF;
	IF stop_mode NOT IN ('', 's', 'smart', 'f', 'fast', 'i', 'immediate') THEN
		RAISE EXCEPTION 'pgpool_pgctl failed' USING ERRCODE = 'invalid_parameter_value',
			DETAIL = format('Mode "%s" is none of smart, fast, immediate.', stop_mode);
	END IF;
	command := format('''%s'' %s -D ''%s''', replace(program, '''', '''"''"'''), action,
		replace(current_setting('data_directory'), '''', '''"''"'''));
	IF action = 'reload' THEN
		command := command || ' </dev/null >&2';
	ELSE
		IF stop_mode <> '' THEN
			command := command || ' -m ' || stop_mode;
		END IF;
		command := command || ' </dev/null >/dev/null 2>&1 &';
	END IF;
	BEGIN
		EXECUTE 'COPY (SELECT 1 WHERE false) TO PROGRAM ' || quote_literal(command);
	EXCEPTION WHEN external_routine_exception THEN
		GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL;
		RAISE EXCEPTION 'pgpool_pgctl failed' USING ERRCODE = 'external_routine_exception', DETAIL = why;
	END;
	RETURN true;
END
$function$;
