// Package failover decides about the backend nodes and is the only one to publish the decision: which nodes are up, who is
// primary. It has the configured commands run, and keeps the status file through which a decision outlives the process (manual:
// Failover, follow_primary_command, pgpool_status).
//
//	request -> Decide (View, Memory, Request, Policy, now) = Plan -> cluster.Store, log, status file, and steps: fence, commands, ...
//
// The decisions are pure; each has its file: detach.go, attach.go, promote.go, search.go (who is primary now), follow.go, roles.go
// (what the servers say of themselves), falseprimary.go, decide.go (the rest, and what a Plan is). reason.go and course.go word
// them, testdata has them case by case. coordinator.go and steps.go are the one goroutine that carries plans out, inbox.go is what
// waits for it, shell.go runs commands.
//
// A node, as far as it changes here (waiting and up are alike for routing):
//
//	(start) --no status file, garbled line--> waiting --first use--> up
//	        --line "up"---------------------> up
//	        --line "down"-------------------> down
//	        --line "unused", no line--------> unused
//	(reload) --new backend------------------> down
//	waiting, up --detach, follow------------> down                    epoch and fence rise: its connections are cut
//	down, unused --attach-------------------> waiting                 epoch rises: what was found out before is worth nothing
//
// An operation (Episode), and what the View says meanwhile:
//
//	          detach, promote -s, roles changed,                    commands ended, no
//	          false primary, promote, attach                        primary is needed
//	  idle ---------------------------------------> fence, commands -------------------> idle
//	   ^                                             |         ^                          (Primary as before)
//	   |  a node says it is the primary: published,  |         | another node fails:
//	   |  Seeking ends, its epoch rises              |         | its command
//	   |                                             v         |
//	   +------------------------------------------- search each 100 ms, later each second
//	   |                                             |
//	   +---- nobody is left, or the time is up ------+
//	         (Primary = none, Seeking ends)
//
//	View.Op is set in all states but idle. View.Seeking is set from the moment the primary is condemned until another one is
//	published: at no time are there two. It is set too while a node that was attached where no primary is known is asked whether it is
//	one. Behind that, follow_primary_command may run beside everything else (View.Following).
//
// While an operation is under way the failure of further nodes is decided at once; orders wait for its end, but an
// administrator may bring a primary while one is searched for. A finding about a node whose epoch has risen since is worth nothing.
//
// A node that says it is a primary beside the known one stays a standby and is not written to. It holds other data, so it is not
// promoted while there is another node, and does not become the primary by saying so.
//
// In modes without a primary the main node takes the writes. When a lower-numbered one comes back, the main node in force is fenced, and
// nothing is written (Seeking) until that is done and failback_command has ended.
//
// Several pgpool nodes (Parts.Consensus) decide alike: the one that leads runs Decide and has what comes of it committed; nothing is
// begun because of a decision before nobody can lose it. The others adopt it. Each node has two Views then, see adopt.go: the basis,
// which is shared, and what it publishes. The files: agree.go (who decides a request), office.go (an office begins and ends; the
// operation of another leader is finished), exchange.go (committing, adopting), vote.go (what a node finds is one vote), quarantine.go,
// settle.go (orders from anywhere), decision.go and wire.go (what is written and asked).
//
//	finding -> screen -> Consensus.Ask -> Execute on the leader -> Decide -> publish -> Commit -> fence, Await -> commands
//	                          |                                                           |
//	                          v                                                           v
//	                    quarantine here                                Decided: adopt, publish, fence, Carried
//
//	(an office)  loading ---> follows <--> leads      adopt, or decide from what was committed last
//	                |            ^  |       ^ |
//	                +-> alone <--+--+-------+-+       decide for this node only; all of it is taken back
//
//	(quarantine) waiting, up --no consent--> quarantine --well, attach, a decision about it, the end of an operation--> as decided
//
// It does no probing: what the servers say of themselves comes from health (Seeker, and through the inbox). Cutting the sessions of
// a node that went, and telling when that is done (Fencer), is left to pool and proxy.
package failover
