package vip

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gopgpool/internal/hosts"
)

// Stand-ins for a cloud. What happened is in the directory beside bin: calls, the owner of the Elastic IP, the routes.
const (
	stubAWS = `#!/bin/bash
here=$(dirname "$(dirname "$0")")
echo "$HOST aws $*" >>"$here/calls"
all=" $* "
option() { local rest=${all#* --$1 }; [ "$rest" != "$all" ] && echo "${rest%% *}"; }
owner() { cat "$here/$1" 2>/dev/null; }
[ ! -e "$here/outage" ] || exit 254
case "$1 $2" in
'ec2 describe-addresses')
	case $all in
	*AllocationId*) echo eipalloc-1 ;;
	*AssociationId*) o=$(owner eip); if [ -n "$o" ] && [[ $all == *"instance-id,Values=$o "* ]]; then echo "eipassoc-$o"; else echo None; fi ;;
	*) exit 255 ;;
	esac ;;
'ec2 associate-address') [ "$(option allocation-id)" = eipalloc-1 ] && option instance-id >"$here/eip" ;;
'ec2 disassociate-address') [ "$(option association-id)" = "eipassoc-$(owner eip)" ] && rm "$here/eip" ;;
'ec2 create-route') [ ! -e "$here/$(option route-table-id)" ] && option network-interface-id >"$here/$(option route-table-id)" ;;
'ec2 replace-route') [ -e "$here/$(option route-table-id)" ] && option network-interface-id >"$here/$(option route-table-id)" ;;
'ec2 delete-route') rm "$here/$(option route-table-id)" ;;
'ec2 describe-route-tables') o=$(owner "$(option route-table-ids)"); echo "${o:-None}" ;;
*) exit 255 ;;
esac
`
	stubCurl = `#!/bin/bash
case "$*" in
*PUT*/latest/api/token) echo TOKEN ;;
*'X-aws-ec2-metadata-token: TOKEN'*/latest/meta-data/instance-id) echo "i-$HOST" ;;
*'X-aws-ec2-metadata-token: TOKEN'*/macs/02:00:00:00:00:01/interface-id) echo "eni-$HOST" ;;
*) exit 22 ;;
esac
`
	stubIP = `#!/bin/bash
case "$*" in
'-o link show dev eth0') echo '2: eth0: <UP> mtu 1500 \    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff' ;;
'route del'*) exit 2 ;;
*) echo "$HOST ip $*" >>"$(dirname "$(dirname "$0")")/calls" ;;
esac
`
)

// cloud is a directory with the stand-ins.
type cloud struct {
	t   *testing.T
	dir string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{t: t, dir: t.TempDir()}
	for name, text := range map[string]string{"bin/aws": stubAWS, "bin/curl": stubCurl, "bin/ip": stubIP, "bin/sudo": "#!/bin/sh\nshift\nexec \"$@\"\n"} {
		c.write(name, text)
	}
	return c
}

func (c *cloud) write(name, text string) {
	c.t.Helper()
	file := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		c.t.Fatal(err)
	}
	// A program that another test starts in this moment would have the file open for writing, and nobody could run it.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		c.t.Fatal(err)
	}
}

// run runs a sample script on an instance and returns what it said, if it failed, and the calls it made.
func (c *cloud) run(host, script string, args ...string) (failure, calls string) {
	c.t.Helper()
	c.write("calls", "")
	cmd := exec.CommandContext(c.t.Context(), "/bin/bash", append([]string{filepath.Join("../../samples/scripts", script)}, args...)...)
	cmd.Env = []string{"PATH=" + filepath.Join(c.dir, "bin") + ":/usr/bin:/bin", "HOST=" + host}
	out, err := cmd.CombinedOutput()
	if err != nil {
		failure = strings.TrimSpace(string(out)) + " (" + err.Error() + ")"
	}
	return failure, c.calls()
}

func (c *cloud) calls() string {
	c.t.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, "calls"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}

// owner is who has the address or a route; "" for nobody.
func (c *cloud) owner(what string) string {
	data, _ := os.ReadFile(filepath.Join(c.dir, what)) // nobody has it
	return strings.TrimSpace(string(data))
}

func verbs(calls string) string {
	var all []string
	for line := range strings.Lines(calls) {
		words := strings.Fields(line)
		all = append(all, words[0]+" "+strings.TrimPrefix(words[2]+" "+words[3], "ec2 "))
	}
	return strings.Join(all, ", ")
}

func TestElasticIPSample(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	aws := filepath.Join(c.dir, "bin/aws")
	step := func(host, action, wantCalls, wantOwner, wantFailure string) {
		t.Helper()
		failure, calls := c.run(host, "aws_eip_if_cmd.sh.sample", action, "35.163.178.3", aws)
		if verbs(calls) != wantCalls || c.owner("eip") != wantOwner || (failure == "") != (wantFailure == "") || !strings.Contains(failure, wantFailure) {
			t.Errorf("%s %s: failure %q, calls %s, owner %q", host, action, failure, verbs(calls), c.owner("eip"))
		}
	}
	step("a", "up", "a describe-addresses, a associate-address", "i-a", "")
	step("a", "down", "a describe-addresses, a disassociate-address", "", "")
	step("a", "down", "a describe-addresses", "", "is not associated with i-a (exit status 1)")
	step("a", "up", "a describe-addresses, a associate-address", "i-a", "")
	step("b", "up", "b describe-addresses, b associate-address", "i-b", "") // a has crashed
	step("a", "down", "a describe-addresses", "i-b", "is not associated with i-a")
	step("a", "sideways", "", "i-b", "unknown action: sideways")
	c.write("outage", "")
	step("b", "up", "b describe-addresses", "i-b", "(exit status 1)")
	if failure, _ := c.run("a", "aws_eip_if_cmd.sh.sample", "up"); !strings.Contains(failure, "usage:") {
		t.Errorf("without arguments: %q", failure)
	}
}

func TestRouteTableSample(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	aws := filepath.Join(c.dir, "bin/aws")
	step := func(host, action, wantCalls, wantOwner, wantFailure string) {
		t.Helper()
		failure, calls := c.run(host, "aws_rtb_if_cmd.sh.sample", action, "20.0.0.50", "eth0", "rtb-1,rtb-2", aws)
		if verbs(calls) != wantCalls || c.owner("rtb-1") != wantOwner || c.owner("rtb-2") != wantOwner ||
			(failure == "") != (wantFailure == "") || !strings.Contains(failure, wantFailure) {
			t.Errorf("%s %s: failure %q, calls %s, owners %q %q", host, action, failure, verbs(calls), c.owner("rtb-1"), c.owner("rtb-2"))
		}
	}
	const remove = "a addr del, a describe-route-tables, a delete-route, a describe-route-tables, a delete-route"
	step("a", "up", "a create-route, a create-route, a addr replace", "eni-a", "")
	step("a", "down", remove, "", "")
	step("a", "down", remove, "", "") // failures are only told
	step("a", "up", "a create-route, a create-route, a addr replace", "eni-a", "")
	step("b", "up", "b create-route, b replace-route, b create-route, b replace-route, b addr replace", "eni-b", "") // a has crashed
	step("a", "down", "a addr del, a describe-route-tables, a describe-route-tables", "eni-b", "")
	c.write("outage", "")
	step("a", "up", "a create-route, a replace-route", "eni-b", "could not route 20.0.0.50/32 to eni-a in rtb-1 (exit status 1)")
	if failure, _ := c.run("a", "aws_rtb_if_cmd.sh.sample", "up", "20.0.0.50"); !strings.Contains(failure, "usage:") {
		t.Errorf("without arguments: %q", failure)
	}
}

// Two pgpool nodes with the sample scripts, as their configuration calls them. The first is killed.
func TestAddressInTheCloudMoves(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	samples, err := filepath.Abs("../../samples/scripts")
	if err != nil {
		t.Fatal(err)
	}
	a, b := pair(t, hosts.Share{Source: samples, Target: "/var/samples"}, hosts.Share{Source: c.dir, Target: "/var/cloud", Writable: true})
	script := "/usr/bin/env HOST=%h PATH=/var/cloud/bin:/usr/bin:/bin /bin/bash /var/samples/aws_eip_if_cmd.sh.sample"
	start := func(h *hosts.Host) *process {
		call := strings.ReplaceAll(script, "%h", h.Name)
		return startHolder(t, h, settings{Config: Config{
			IP: vip4, UpCommand: call + " up $_IP_$ /var/cloud/bin/aws", DownCommand: call + " down $_IP_$ /var/cloud/bin/aws",
			ArpingCommand: "true", ArpingPath: "/usr/sbin",
		}})
	}
	first, second := start(a), start(b)
	first.hold(4 * longest)
	eventually(t, "a has it", longest, func() bool { return c.owner("eip") == "i-a" && first.current().Held })
	wantLog(t, first, "successfully acquired the delegate IP:\"10.1.0.50\"")
	first.kill()
	second.hold(4 * longest)
	eventually(t, "b has it", longest, func() bool { return c.owner("eip") == "i-b" && second.current().Held })
	second.set(Desired{})
	eventually(t, "nobody has it", longest, func() bool { return c.owner("eip") == "" && !second.current().Held })
	wantLog(t, second, "successfully released the delegate IP:\"10.1.0.50\"")
	want := "a describe-addresses, a associate-address, b describe-addresses, b associate-address, b describe-addresses, b disassociate-address"
	if got := verbs(c.calls()); got != want {
		t.Errorf("calls: %s\nwant:  %s", got, want)
	}
}
