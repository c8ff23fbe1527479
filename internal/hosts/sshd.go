package hosts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// sshPort is where the helper stands for the SSH daemon.
const sshPort = 22

func (h *helper) serveSSH(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go h.serveCaller(conn)
		}
	}
}

// serveCaller runs one command. Like a real daemon it ends when the command has exited and nobody holds its output any more.
func (h *helper) serveCaller(conn net.Conn) {
	defer conn.Close()
	h.gate.pass()
	req, err := readRequest(conn)
	if err != nil {
		return
	}
	if _, err := os.Stat(noSSHFile); err == nil {
		return
	}
	out := &frameWriter{w: conn}
	if out.write(frameReady, nil) != nil {
		return
	}
	code, err := h.execute(req, conn, out)
	if err != nil {
		code = 255
		_ = out.write(frameErrors, fmt.Appendf(nil, "%s: %v\n", h.plan.Name, err)) // the exit status tells as well
	}
	_ = out.write(frameExit, []byte{code}) // a caller who has gone does not want it
}

// execute runs the command with its input and output on the connection.
func (h *helper) execute(req request, conn io.Reader, out *frameWriter) (code byte, err error) {
	who, err := lookUpAccount(req.User)
	if err != nil {
		return 0, err
	}
	path, argv := who.shell, []string{who.shell, "-c", req.Command}
	if len(req.Argv) > 0 {
		path, argv = "/usr/bin/env", append([]string{"env"}, req.Argv...)
	}
	if req.Dir == "" {
		req.Dir = who.home
	}
	var pipes pipes
	defer pipes.close()
	if err := pipes.open(); err != nil {
		return 0, err
	}
	status, err := h.reaper.start(path, argv, &syscall.ProcAttr{
		Dir: req.Dir, Env: append(who.environment(h.plan.Path), req.Env...),
		Files: []uintptr{pipes.theirs[0].Fd(), pipes.theirs[1].Fd(), pipes.theirs[2].Fd()},
		Sys:   &syscall.SysProcAttr{Credential: who.credential(), Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	pipes.closeTheirs()
	go pipes.feed(conn)
	var done sync.WaitGroup
	done.Go(func() { pipes.drain(out, frameOutput, 1) })
	done.Go(func() { pipes.drain(out, frameErrors, 2) })
	done.Wait()
	return exitCode(<-status), nil
}

// exitCode is that of ssh: 255 for a command that a signal ended.
func exitCode(status unix.WaitStatus) byte {
	if status.Exited() {
		return byte(status.ExitStatus())
	}
	return 255
}

// pipes are a command's standard input, output and error output.
type pipes struct{ ours, theirs [3]*os.File }

func (p *pipes) open() (err error) {
	for i := range p.ours {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		if p.ours[i], p.theirs[i] = r, w; i == 0 {
			p.ours[i], p.theirs[i] = w, r
		}
	}
	return nil
}

func (p *pipes) closeTheirs() {
	for _, f := range p.theirs {
		_ = f.Close() // closed twice at most
	}
}

func (p *pipes) close() {
	p.closeTheirs()
	for _, f := range p.ours {
		_ = f.Close() // closed twice at most
	}
}

// feed passes the caller's input on until its end. A command that does not read any more ends that.
func (p *pipes) feed(conn io.Reader) {
	defer p.ours[0].Close()
	for {
		kind, payload, err := readFrame(conn)
		if err != nil || kind != frameInput {
			return
		}
		if _, err := p.ours[0].Write(payload); err != nil {
			return
		}
	}
}

// drain sends the command's output. When the caller has gone the command finds nobody to write to.
func (p *pipes) drain(out *frameWriter, kind frameKind, i int) {
	if out.copyFrom(kind, p.ours[i]) != nil {
		_ = p.ours[i].Close()
	}
}

// call runs a command on the host at the other end of conn and returns its exit status; an error is one of the connection. Input is
// nil for none.
func call(conn io.ReadWriter, req request, in io.Reader, stdout, stderr io.Writer) (int, error) {
	payload, err := json.Marshal(req)
	if err != nil {
		return 0, err
	}
	out := &frameWriter{w: conn}
	if err := out.write(frameRequest, payload); err != nil {
		return 0, err
	}
	if _, _, err := readFrame(conn); err != nil { // frameReady, or the host does not want us
		return 0, errors.New("connection closed by the remote host")
	}
	go sendInput(out, in)
	for {
		kind, payload, err := readFrame(conn)
		if err != nil {
			return 0, err
		}
		switch kind {
		case frameExit:
			if len(payload) != 1 {
				return 0, fmt.Errorf("exit status of %d bytes", len(payload))
			}
			return int(payload[0]), nil
		case frameErrors:
			_, err = stderr.Write(payload)
		default:
			_, err = stdout.Write(payload)
		}
		if err != nil {
			return 0, err
		}
	}
}

// sendInput is left behind when the command ends first; the program ends with it.
func sendInput(out *frameWriter, in io.Reader) {
	if in == nil || out.copyFrom(frameInput, in) == nil {
		_ = out.write(frameInputEnd, nil) // the reader of the answers sees a broken connection too
	}
}
