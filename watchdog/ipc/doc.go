// Package ipc is the watchdog's local command interface (manual: Watchdog IPC): the Unix socket through which an external life check
// reports verdicts and wd_cli asks for the state of the nodes, the list of nodes as a JSON document, and the client of that socket.
//
// It owns the messages, who may send which, and the document, which is also the answer of pcp_watchdog_info. A request is one message on
// a connection of its own: a type, the length of the data, a JSON object. What an outsider costs is bounded: the length of a message,
// the time of a connection, the number of connections.
//
// It leaves to others: what the state is and what a verdict causes (Watchdog is asked), the commands that Pgpool-II's processes send
// each other over this socket, which are refused because there is one process, and what is printed (cmd/wd_cli).
package ipc
