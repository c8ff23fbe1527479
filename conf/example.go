package conf

// watchdogExample shows the shortest clusters that work. The files of samples/watchdog are the same ones.
const watchdogExample = `# Three nodes on server1 to server3. These lines are the same in all three files; each host's own number (0, 1 or 2) stands in
# the file pgpool_node_id beside pgpool.conf. The leader holds 192.168.0.100 on its device eth0, which needs the rights
# CAP_NET_ADMIN and CAP_NET_RAW, and no command:
#
#   use_watchdog = on
#   wd_authkey = 'a secret of your own'
#   hostname0 = 'server1'
#   wd_port0 = 9000
#   pgpool_port0 = 9999
#   heartbeat_hostname0 = 'server1'
#   heartbeat_port0 = 9694
#   hostname1 = 'server2'
#   wd_port1 = 9000
#   pgpool_port1 = 9999
#   heartbeat_hostname1 = 'server2'
#   heartbeat_port1 = 9694
#   hostname2 = 'server3'
#   wd_port2 = 9000
#   pgpool_port2 = 9999
#   heartbeat_hostname2 = 'server3'
#   heartbeat_port2 = 9694
#   delegate_ip = '192.168.0.100'
#   delegate_device = 'eth0'
#   delegate_prefix = 24
#
# Two nodes: leave out the lines with 2 in their names. One node alone then has no quorum and holds no address, unless
#
#   enable_consensus_with_half_votes = on
#   trusted_servers = '192.168.0.1,192.168.0.2'
#
# With it, both nodes may lead while the network between them is cut. Hosts that both nodes reach only through that network, like
# its routers, keep a node that is cut off from leading. See docs/watchdog.md.
`
