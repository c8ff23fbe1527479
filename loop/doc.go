// Package loop runs sessions as coroutines on epoll loops.
//
// A [Loop] owns an epoll descriptor, a wake-up descriptor, a timer heap and the coroutines ([Task]) dealt to it; all of them
// run on the loop's one goroutine, one at a time, so what belongs to a loop needs no lock. A task is straight-line code: it
// gives up the loop only in [Task.Wait] and what is built on it (Conn.Read, Conn.Write, Task.Dial, Task.Sleep), in
// [Task.Offload] and in [Task.Yield]. Anything else that may block – DNS, catalogue work on other connections, key
// derivation, a file – goes through Offload; a task that blocks all the same is reported by [Group.Run].
//
//	     Go, GoFrom
//	         |
//	         v      its turn
//	+---> ready -------------------> running ---------------> over: returned or panicked;
//	|        ^                       |  |  |                  its connections are closed
//	|        +--------- Yield -------+  |  |
//	|                                   |  |
//	| event on a connection it owns,    |  | Offload
//	| deadline, Wake, Stop              |  v
//	+---- waiting <---- Wait, unmet ----+  offloaded ---+
//	|                                                   |
//	+---------------------------------------------------+  the function has returned
//
// Everything that makes a task ready is spurious by right: Wait looks again at what it waits for. Stop is asked for, not
// inflicted: from then on every wait returns [Stopped] at once, and the task ends by itself. The end of Run's context asks
// all of them.
//
// Descriptors are registered edge-triggered once; readiness is kept in [Conn] as flags, so that changing one's mind about
// what to wait for costs no system call. An edge may be reported for what has been read already, never the other way round. A
// turn of the loop first polls without leaving the processor; only an idle loop blocks in the kernel, where Go's scheduler
// can see it.
//
// [Conn.StartTLS] puts encryption below a connection: flags, waiting and partial writes mean the plain text from then on, and data that
// has been decrypted and not been read counts as readable.
//
// Fairness: Read and Write yield after a bounded number of bytes. Who uses TryRead and TryWrite bounds himself.
//
// Rules for code on a loop: no runtime.LockOSThread once the first task was made, no wait inside a callback from C, no
// runtime.Goexit (so no t.Fatal in tests).
//
// It does not know what is said on a connection. Linux only; [NewVirtual] is the same loop without a kernel, for tests with a
// virtual clock (testing/synctest).
package loop
