// Package loop runs sessions as coroutines on epoll loops.
//
// A [Loop] owns an epoll descriptor, a wake-up descriptor, a timer heap and the coroutines ([Task]) dealt to it; all of them
// run on the loop's one goroutine, one at a time, so what belongs to a loop needs no lock. A task is straight-line code: it
// gives up the loop only in [Task.Wait] and what is built on it (Conn.Read, Conn.Write, Task.Dial, Task.Offload, Task.Yield).
// Anything else that may block – DNS, catalogue work on other connections, key derivation, a file – goes through Task.Offload.
//
// Descriptors are registered edge-triggered once; readiness is kept in [Conn] as flags, so that changing one's mind about
// what to wait for costs no system call. A turn of the loop first polls without leaving the processor; only an idle
// loop blocks in the kernel, where Go's scheduler can see it.
//
// It does not know what is said on a connection. Linux only; [NewVirtual] is the same loop without a kernel, for tests with a
// virtual clock (testing/synctest).
package loop
