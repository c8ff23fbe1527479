package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"

	"gopgpool/pcp"
)

// socketDirs are where the socket is looked for without -h: first the default of Pgpool-II, then where Debian's package has it.
func socketDirs() []string { return []string{"/tmp", "/var/run/postgresql"} }

// connect tries the places that the options name, or the default ones.
func connect(ctx context.Context, o options, opts pcp.ClientOptions) (*pcp.Client, error) {
	switch {
	case o.host == "":
		return connectSockets(ctx, socketDirs(), o.port, opts)
	case strings.HasPrefix(o.host, "/"):
		return connectSockets(ctx, []string{o.host}, o.port, opts)
	}
	c, err := pcp.Dial(ctx, "tcp", net.JoinHostPort(o.host, strconv.Itoa(o.port)), opts)
	if err != nil {
		return nil, connectFailed("tcp", o.host, err)
	}
	return c, nil
}

// connectSockets tries directories in order while there is no socket in them.
func connectSockets(ctx context.Context, dirs []string, port int, opts pcp.ClientOptions) (*pcp.Client, error) {
	var failed []error
	for _, dir := range dirs {
		path := fmt.Sprintf("%s/.s.PGSQL.%d", strings.TrimSuffix(dir, "/"), port)
		c, err := pcp.Dial(ctx, "unix", path, opts)
		if err == nil {
			return c, nil
		}
		failed = append(failed, connectFailed("unix", path, err))
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return nil, errors.Join(failed...)
}
