package hosts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// port is the end of a cable that is plugged into a bridge.
type port struct {
	device Device
	name   string // in the namespace of the bridges
}

// plugIn gives a host its devices.
func (w *World) plugIn(ctx context.Context, h *Host) error {
	inside, err := netlink.NewHandleAt(netns.NsHandle(h.net.Fd()))
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := up(inside, "lo"); err != nil {
		return err
	}
	for i, d := range h.spec.Devices {
		if d.Name == "" {
			d.Name = "eth0"
		}
		p := port{device: d, name: fmt.Sprintf("h%dp%d", len(w.hosts), i)}
		if err := w.cable(p, h); err != nil {
			return fmt.Errorf("device %s: %w", d.Name, err)
		}
		if err := configure(inside, d); err != nil {
			return fmt.Errorf("device %s: %w", d.Name, err)
		}
		h.ports = append(h.ports, p)
		if err := errors.Join(running(ctx, inside, d.Name), running(ctx, w.handle, p.name)); err != nil {
			return fmt.Errorf("device %s: %w", d.Name, err)
		}
	}
	return nil
}

// running waits until a device sends what it is given, which is a moment after it was set up.
func running(ctx context.Context, h *netlink.Handle, name string) error {
	for {
		link, err := h.LinkByName(name)
		if err != nil || link.Attrs().OperState == netlink.OperUp {
			return err
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// cable makes a pair of devices, one for the host and one on the bridge.
func (w *World) cable(p port, h *Host) error {
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: p.name}, PeerName: p.device.Name, PeerNamespace: netlink.NsFd(int(h.net.Fd())),
	}
	if err := w.handle.LinkAdd(pair); err != nil {
		return err
	}
	if err := up(w.handle, p.name); err != nil {
		return err
	}
	return w.attach(p, p.device.Network)
}

// attach moves a port to the bridge of a name.
func (w *World) attach(p port, bridge string) error {
	index, err := w.bridge(bridge)
	if err != nil {
		return err
	}
	link, err := w.handle.LinkByName(p.name)
	if err != nil {
		return err
	}
	return w.handle.LinkSetMasterByIndex(link, index)
}

// bridge finds a bridge, or makes it.
func (w *World) bridge(name string) (index int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if index, ok := w.bridges[name]; ok {
		return index, nil
	}
	device := fmt.Sprintf("br%d", len(w.bridges))
	if err := w.handle.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: device}}); err != nil {
		return 0, err
	}
	if err := up(w.handle, device); err != nil {
		return 0, err
	}
	link, err := w.handle.LinkByName(device)
	if err != nil {
		return 0, err
	}
	w.bridges[name] = link.Attrs().Index
	return link.Attrs().Index, nil
}

func up(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	return h.LinkSetUp(link)
}

// configure gives a device its address.
func configure(h *netlink.Handle, d Device) error {
	link, err := h.LinkByName(d.Name)
	if err != nil {
		return err
	}
	if d.Address.IsValid() {
		mask := net.CIDRMask(d.Address.Bits(), d.Address.Addr().BitLen())
		address := &netlink.Addr{IPNet: &net.IPNet{IP: d.Address.Addr().AsSlice(), Mask: mask}}
		if err := h.AddrReplace(link, address); err != nil {
			return err
		}
	}
	return h.LinkSetUp(link)
}

// Cut takes the host off all its networks without anybody being told: its devices stay up, packets vanish. See [Host.Unplug].
func (h *Host) Cut() error {
	return h.eachPort(func(p port) error {
		link, err := h.world.handle.LinkByName(p.name)
		if err != nil {
			return err
		}
		return h.world.handle.LinkSetNoMaster(link)
	})
}

// Heal joins the host's devices to their networks again, after Cut or Partition.
func (h *Host) Heal() error {
	return h.eachPort(func(p port) error { return h.world.attach(p, p.device.Network) })
}

func (h *Host) eachPort(f func(port) error) error {
	for _, p := range h.ports {
		if err := f(p); err != nil {
			return fmt.Errorf("host %s, device %s: %w", h.Name, p.device.Name, err)
		}
	}
	return nil
}

// Unplug pulls the cable of one device: the host sees that it has no carrier. Plug puts it back.
func (h *Host) Unplug(device string) error { return h.carrier(device, h.world.handle.LinkSetDown) }

// Plug undoes Unplug.
func (h *Host) Plug(device string) error { return h.carrier(device, h.world.handle.LinkSetUp) }

func (h *Host) carrier(device string, set func(netlink.Link) error) error {
	found := fmt.Errorf("host %s has no device %s", h.Name, device)
	err := h.eachPort(func(p port) error {
		if p.device.Name != device {
			return nil
		}
		link, err := h.world.handle.LinkByName(p.name)
		if err != nil {
			return err
		}
		found = nil
		return set(link)
	})
	if err != nil {
		return err
	}
	return found
}

// Partition parts the networks: hosts of the same group reach each other, those of different groups do not; who is in no group stays
// where it is. Heal of every host ends it.
func (w *World) Partition(groups ...[]*Host) error {
	for i, group := range groups {
		for _, h := range group {
			err := h.eachPort(func(p port) error { return w.attach(p, fmt.Sprintf("%s part %d", p.device.Network, i)) })
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Heal ends every Cut and Partition.
func (w *World) Heal() error {
	for _, h := range w.hosts {
		if err := h.Heal(); err != nil {
			return err
		}
	}
	return nil
}

// nowhere is a hardware address that nobody has. It is locally administered.
func nowhere() net.HardwareAddr { return net.HardwareAddr{0x02, 0xde, 0xad, 0, 0, 0x01} }

// Block makes packets between this host and another vanish, while both reach everybody else. It is about the addresses their devices
// were given, not those that were added later.
func (h *Host) Block(other *Host) error { return both(h, other, (*netlink.Handle).NeighSet) }

// Unblock undoes Block.
func (h *Host) Unblock(other *Host) error { return both(h, other, (*netlink.Handle).NeighDel) }

// BlockTo makes packets from this host to another vanish, while those of the other one arrive. Like Block, it is about the addresses that
// devices were given.
func (h *Host) BlockTo(other *Host) error { return h.neighbours(other, (*netlink.Handle).NeighSet) }

// UnblockTo undoes BlockTo.
func (h *Host) UnblockTo(other *Host) error { return h.neighbours(other, (*netlink.Handle).NeighDel) }

type neighbourChange func(*netlink.Handle, *netlink.Neigh) error

func both(a, b *Host, change neighbourChange) error {
	if err := a.neighbours(b, change); err != nil {
		return err
	}
	return b.neighbours(a, change)
}

// neighbours changes what the host takes for the hardware addresses of another one.
func (h *Host) neighbours(other *Host, change neighbourChange) error {
	inside, err := netlink.NewHandleAt(netns.NsHandle(h.net.Fd()))
	if err != nil {
		return err
	}
	defer inside.Close()
	for _, mine := range h.ports {
		link, err := inside.LinkByName(mine.device.Name)
		if err != nil {
			return err
		}
		for _, theirs := range other.ports {
			if !mine.device.Address.Masked().Contains(theirs.device.Address.Addr()) {
				continue
			}
			err := change(inside, &netlink.Neigh{
				LinkIndex: link.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
				IP: theirs.device.Address.Addr().AsSlice(), HardwareAddr: nowhere(),
			})
			if err != nil {
				return fmt.Errorf("host %s, neighbour %s: %w", h.Name, other.Name, err)
			}
		}
	}
	return nil
}
