// Package conninfo reads and changes libpq's connection strings, which is what primary_conninfo is. It owns their syntax and what a
// standby keeps when it is pointed at another server. Who connects, and where the string is stored, is left to replication and agent.
package conninfo
