package hosts

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// account is a line of /etc/passwd, with the groups of /etc/group.
type account struct {
	name, home, shell string
	uid, gid          uint32
	groups            []uint32
}

// lookUpAccount reads the files of the root directory that the calling thread sees. The standard library might keep another host's.
func lookUpAccount(name string) (account, error) {
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return account{}, err
	}
	group, err := os.ReadFile("/etc/group")
	if err != nil {
		return account{}, err
	}
	return parseAccount(name, string(passwd), string(group))
}

func parseAccount(name, passwd, group string) (account, error) {
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 7 || f[0] != name {
			continue
		}
		uid, errU := strconv.ParseUint(f[2], 10, 32)
		gid, errG := strconv.ParseUint(f[3], 10, 32)
		if errU != nil || errG != nil {
			return account{}, fmt.Errorf("user %s: ids %s and %s", name, f[2], f[3])
		}
		a := account{name: name, home: f[5], shell: f[6], uid: uint32(uid), gid: uint32(gid)}
		a.groups = groupsOf(name, group)
		return a, nil
	}
	return account{}, fmt.Errorf("no user %s", name)
}

// groupsOf lists the groups that name is a member of.
func groupsOf(name, group string) (gids []uint32) {
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 4 {
			continue
		}
		for member := range strings.SplitSeq(f[3], ",") {
			if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil && member == name {
				gids = append(gids, uint32(gid))
			}
		}
	}
	return gids
}

func (a account) credential() *syscall.Credential {
	return &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
}

// assume makes this process, which is root's, the account's.
func (a account) assume() error {
	groups := make([]int, len(a.groups))
	for i, gid := range a.groups {
		groups[i] = int(gid)
	}
	return errors.Join(syscall.Setgroups(groups), syscall.Setgid(int(a.gid)), syscall.Setuid(int(a.uid)))
}

// environment is what a command of the account starts with. extra are directories of Options.Path.
func (a account) environment(extra []string) []string {
	path := append([]string{stubDir}, extra...)
	path = append(path, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
	return []string{
		"HOME=" + a.home, "USER=" + a.name, "LOGNAME=" + a.name, "SHELL=" + a.shell,
		"PATH=" + strings.Join(path, ":"), "LANG=C.UTF-8", "GORACE=atexit_sleep_ms=0",
	}
}
