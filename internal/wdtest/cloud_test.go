package wdtest

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/internal/site"
)

// cloudDir is on every host what the cloud is: its programs in bin, its state, and the calls of all hosts.
const cloudDir = "/srv/cloud"

// curlStub is the metadata service.
const curlStub = `#!/bin/sh
for url; do :; done
case $url in
*/latest/api/token) echo TOKEN ;;
*/latest/meta-data/instance-id) echo i-$(hostname) ;;
*/latest/meta-data/network/interfaces/macs/*/interface-id) echo eni-$(hostname) ;;
*) exit 22 ;;
esac
`

// awsStub keeps who has the Elastic IP, and the routes of tables, and makes both true on the network: the address is on the owner's
// loopback, and the client's host has a route to it.
const awsStub = `#!/bin/bash
cd ` + cloudDir + `/state || exit 255
exec 9>lock && flock 9
echo "$(hostname) $*" >>calls
shift; verb=$1; shift
while [ $# -gt 0 ]; do
	case $1 in
	--*) name=${1#--}; name=${name//-/_}; case $2 in --*|"") shift ;; *) printf -v "$name" %s "$2"; shift 2 ;; esac ;;
	*) shift ;;
	esac
done
[ ! -e broken ] || exit 1
own() { getent hosts "$1" | sed 's/ .*//'; }
lead() { ssh -o ConnectTimeout=2 client ip route replace "$1" via "$(own "$2")"; }
case $verb in
describe-addresses)
	case $query in
	*AllocationId*) echo eipalloc-1 ;;
	*AssociationId*) if [ -s owner ]; then echo eipassoc-1; else echo None; fi ;;
	esac ;;
associate-address)
	old=$(cat owner 2>/dev/null)
	[ -z "$old" ] || ssh -o ConnectTimeout=2 "$old" ip addr del ` + elasticIP + `/32 dev lo 2>/dev/null
	echo "${instance_id#i-}" >owner
	ip addr replace ` + elasticIP + `/32 dev lo
	lead ` + elasticIP + `/32 "${instance_id#i-}" ;;
disassociate-address)
	ssh -o ConnectTimeout=2 "$(cat owner)" ip addr del ` + elasticIP + `/32 dev lo 2>/dev/null
	: >owner ;;
create-route)
	[ ! -e "$route_table_id" ] || exit 254
	echo "${network_interface_id#eni-}" >"$route_table_id"
	lead "$destination_cidr_block" "${network_interface_id#eni-}" ;;
replace-route)
	echo "${network_interface_id#eni-}" >"$route_table_id"
	lead "$destination_cidr_block" "${network_interface_id#eni-}" ;;
describe-route-tables) if [ -e "$route_table_ids" ]; then echo "eni-$(cat "$route_table_ids")"; else echo None; fi ;;
delete-route) rm "$route_table_id" ;;
*) exit 255 ;;
esac
`

const (
	elasticIP   = "35.163.178.3"
	outsideVPC  = "20.0.0.50"
	routeTables = "rtb-012345abcd,rtb-67890abcd"
)

// cloud is a cluster whose address is moved by the sample scripts for the cloud.
type cloud struct {
	*site.Cluster
	t     *testing.T
	state string // the directory of the stub's state, on this machine
	taken int    // calls that were looked at
}

func newCloud(t *testing.T, ip, script, arguments string) *cloud {
	dir := t.TempDir()
	c := &cloud{t: t, state: filepath.Join(dir, "state")}
	for _, name := range []string{"bin", "state"} {
		site.Must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	for name, text := range map[string]string{"curl": curlStub, "aws": awsStub} {
		site.Must(t, os.WriteFile(filepath.Join(dir, "bin", name), []byte(text), 0o755))
	}
	command := func(verb string) string {
		return fmt.Sprintf("%s/%s %s $_IP_$%s %s/bin/aws", site.EtcDir, script, verb, arguments, cloudDir)
	}
	c.Cluster = newCluster(t, site.ClusterOptions{
		VIP: netip.MustParseAddr(ip), Path: []string{cloudDir + "/bin"},
		Shares: []hosts.Share{{Source: dir, Target: cloudDir, Writable: true}},
		Settings: site.Settings{
			"if_up_cmd": command("up"), "if_down_cmd": command("down"), "arping_cmd": "true", "delegate_ip": ip,
		},
	})
	text, err := os.ReadFile(filepath.Join(site.Repository(t), "samples/scripts", script+".sample"))
	site.Must(t, err)
	for _, h := range c.PgpoolHosts() {
		site.Must(t, h.WriteFile("root", site.EtcDir+"/"+script, string(text), 0o755))
	}
	return c
}

// calls returns the calls of aws since the last time: host and verb of those that change something.
func (c *cloud) calls() string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.state, "calls"))
	if os.IsNotExist(err) {
		return ""
	}
	site.Must(c.t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var all []string
	for _, line := range lines[min(c.taken, len(lines)):] {
		if f := strings.Fields(line); len(f) > 2 && !strings.HasPrefix(f[2], "describe") {
			all = append(all, f[0]+" "+f[2])
		}
	}
	c.taken = len(lines)
	return strings.Join(all, ", ")
}

// works waits until clients are served at the address.
func (c *cloud) works() {
	c.t.Helper()
	c.Await(c.t, "clients are served at "+c.VIP.String(), 20*time.Second, func() (string, bool) {
		got := c.PoolNodes(c.t, c.VIP.String())
		return got, got == "0 up primary"
	})
}

// acquired waits until a node says that it has the address.
func (c *cloud) acquired(id, mark int) {
	c.t.Helper()
	c.Pgpools[id].AwaitLog(c.t, 20*time.Second, mark, `successfully acquired the delegate IP:"`+c.VIP.String()+`"`)
}

// leader is who the nodes say leads.
func (c *cloud) leader(asked int) (id int) {
	c.t.Helper()
	c.Await(c.t, "there is a leader", 20*time.Second, func() (string, bool) {
		info, err := c.WatchdogInfo(c.t, c.Pgpools[asked].Host.Name)
		for i, p := range c.Pgpools {
			if info.Leader == p.Host.Name && strings.HasPrefix(info.State(p.Host.Name), "4 ") {
				id = i
				return "", true
			}
		}
		return fmt.Sprintf("%+v, %v", info, err), false
	})
	return id
}

// play is the script of the manual's example; up, down and again are the calls expected of the stub at each host.
func (c *cloud) play(up, down, again string) {
	t := c.t
	expect := func(what, got string, host int, want string) {
		t.Helper()
		if want = strings.ReplaceAll(want, "HOST", c.Pgpools[host].Host.Name); got != want {
			t.Errorf("%s: called %q, want %q", what, got, want)
		}
	}
	c.Start(t)
	first := c.leader(0)
	c.acquired(first, 0)
	expect("start", c.calls(), first, up)
	c.works()

	marks := make([]int, len(c.Pgpools))
	for id, p := range c.Pgpools {
		marks[id] = p.Mark(t)
	}
	c.Pgpools[first].Stop(t)
	second := c.leader((first + 1) % 3)
	c.acquired(second, marks[second])
	got := c.calls()
	before, after := strings.ReplaceAll(down, "HOST", c.Pgpools[first].Host.Name), strings.ReplaceAll(up, "HOST", c.Pgpools[second].Host.Name)
	if got != before+", "+after {
		t.Errorf("graceful stop: called %q, want %q, then %q", got, before, after)
	}
	c.works()

	third := 3 - first - second
	marks[third] = c.Pgpools[third].Mark(t)
	c.Start(t, first)
	c.AwaitStates(t, 20*time.Second, c.Pgpools[second].Host.Name, states(3, second, nil)...)
	marks[first] = c.Pgpools[first].Mark(t)
	c.Pgpools[second].SignalAll(t, syscall.SIGKILL)
	c.Pgpools[second].AwaitEnd(t, 5*time.Second)
	next := -1
	c.Await(t, "a new leader has the address", 20*time.Second, func() (string, bool) {
		for _, id := range []int{first, third} {
			if strings.Contains(c.Pgpools[id].LogText(t)[marks[id]:], "successfully acquired the delegate IP") {
				next = id
			}
		}
		return "", next >= 0
	})
	expect("SIGKILL", c.calls(), next, again)
	c.works()
	c.refused(next)
}

// refused: the cloud does nothing any more. The next leader says so, stays one, and the cluster goes on.
func (c *cloud) refused(leader int) {
	c.t.Helper()
	site.Must(c.t, os.WriteFile(filepath.Join(c.state, "broken"), nil, 0o644))
	other := -1
	for id, p := range c.Pgpools {
		if id != leader && p.Running() {
			other = id
		}
	}
	dead := 3 - leader - other
	c.Start(c.t, dead)
	c.AwaitStates(c.t, 20*time.Second, c.Pgpools[leader].Host.Name, states(3, leader, nil)...)
	marks := make([]int, len(c.Pgpools))
	for id, p := range c.Pgpools {
		marks[id] = p.Mark(c.t)
	}
	c.Pgpools[leader].Stop(c.t)
	next := c.leader(other)
	c.Pgpools[next].AwaitLog(c.t, 20*time.Second, marks[next], "failed to acquire the delegate IP address")
	if now := c.leader(other); now != next {
		c.t.Errorf("node %d leads, not %d", now, next)
	}
	if got := c.PoolNodes(c.t, c.Pgpools[next].Host.Name); got != "0 up primary" {
		c.t.Errorf("the leader itself answers %q", got)
	}
}

func TestElasticIP(t *testing.T) {
	long(t)
	newCloud(t, elasticIP, "aws_eip_if_cmd.sh", "").play(
		"HOST associate-address", "HOST disassociate-address", "HOST associate-address")
}

func TestRouteTables(t *testing.T) {
	long(t)
	newCloud(t, outsideVPC, "aws_rtb_if_cmd.sh", " eth0 "+routeTables).play(
		"HOST create-route, HOST create-route", "HOST delete-route, HOST delete-route",
		"HOST create-route, HOST replace-route, HOST create-route, HOST replace-route")
}
