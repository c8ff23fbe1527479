// Package vip holds the virtual IP address (manual: delegate_ip) on this host while it is told to, and runs the commands that go with
// it: if_up_cmd, if_down_cmd, arping_cmd, wd_escalation_command, wd_de_escalation_command.
//
// It owns the lifetime that the kernel enforces: the address is placed through netlink with a lifetime that ends before the lease
// does, and refreshed as the lease is. A process that is killed, frozen or stuck loses it without anybody's doing. A refresh is sent in
// a form that cannot create the address, so a process that thaws after its lease does not bring it back. See [lifetime] and kernel.go.
//
// It also owns telling the neighbours (gratuitous ARP, unsolicited neighbour advertisements) and asking them whether somebody has the
// address.
//
// It leaves to others: when the address is held, and what clients may do. The caller sets a [Desired] state as often as it likes; what
// is there is compared with it at every such call, on a timer, and when the kernel tells of a change of addresses or links.
//
//	            Set(Hold)                 command ended               address there
//	not held ---------------> escalating ---------------> raising -------------------> held <--+ missing: placed again
//	   ^                          |                          |                          |  |   |
//	   |                          | not wanted, lease over   |                          |  +---+
//	   +--------- lowering <------+--------------------------+--------------------------+
package vip
