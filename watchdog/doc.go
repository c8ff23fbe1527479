// Package watchdog runs the watchdog of this node (manual: watchdog). It owns the one loop in which the machine is told what happens and
// what it wants is done: messages through the mesh, writes through the disk, the address through vip, verdicts from the life check.
//
//	mesh ----- messages, links ---+                         +--> mesh      messages
//	pulse ---- heartbeats -> Judge +-> inbox -> machine --- + --> disk      before what depends on it
//	lifecheck - findings ---------+   (one     (pure)      +--> vip       address held or not, until when
//	vip ------ what is held ------+   goroutine)           +--> backends  office, decisions, approved requests
//	callers -- Ask, Commit, Leave -+                        +--> snapshot  Status, node list, SHOW
//
// What the nodes decide about backends is left to whoever is given as Backends.
package watchdog
