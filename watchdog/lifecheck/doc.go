// Package lifecheck judges whether the pgpool nodes of a watchdog cluster are alive, and whether this one can still do its work
// (manual: wd_lifecheck_method, trusted_servers, wd_monitoring_interfaces_list).
//
// About others there are two judges. Judge is pure: it is told of heartbeats and asked for verdicts. With wd_lifecheck_method = query,
// Checks asks all nodes a question through their client port and judges the answers. With external, somebody else judges.
//
// About this node, Checks finds out whether a trusted server answers, whether the network devices work, and whether its own client port
// answers. Everything is reported when it changes, and again when it is well.
//
// It leaves to others: sending and receiving heartbeats (watchdog/pulse), what a verdict or a finding changes (watchdog/machine), the
// virtual address (watchdog/vip).
package lifecheck
