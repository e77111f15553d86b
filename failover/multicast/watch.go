package multicast

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/understudy-ha/understudy/failover"
)

const (
	// every is how often the interface is looked at; that costs some 50 µs.
	every = time.Second
	// least keeps failing sends from looking more often.
	least = 50 * time.Millisecond
)

// suspect makes the watch look at the interface at once if an error of sending may come from there.
func (t *Transport) suspect(err error) {
	if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.EPERM) {
		return
	}
	select {
	case t.check <- struct{}{}:
	default:
	}
}

// watch keeps the sockets where the interface is. A system keeps a membership while an interface is down, but not when it
// is made anew, as those of tunnels, containers and unplugged adapters are; and a socket that is bound to an address that
// the interface has lost hears nothing.
func (t *Transport) watch() {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	lost := false
	for {
		select {
		case <-ticker.C:
		case <-t.check:
			if !t.pause(least) {
				return
			}
		case <-t.closing:
			return
		}
		lost = t.follow(lost)
	}
}

// follow looks at the interface once. lost is whether it was gone before, and is now.
func (t *Transport) follow(lost bool) bool {
	t.mu.RLock()
	before := t.nic
	t.mu.RUnlock()
	if present(before) && !lost {
		return false
	}
	found, err := t.choose()
	if err == nil {
		err = t.move(before, found)
	}
	if err != nil {
		if !lost {
			t.cfg.Log.Warn("the network interface has gone: other nodes do not hear this one, nor does it hear them", "group", t.group.String(), "interface", before.Name, "error", err)
		}
		return true
	}
	t.cfg.Log.Info("the network interface is there again, the group was joined anew", "group", t.group.String(), "interface", found.Name, "address", t.Address())
	return false
}

// present reports whether an interface is up and has its address.
func present(nic failover.NIC) bool {
	device, err := net.InterfaceByIndex(nic.Index)
	if err != nil || device.Name != nic.Name || device.Flags&net.FlagUp == 0 {
		return false
	}
	addresses, err := device.Addrs()
	if err != nil {
		return false
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Unmap() == nic.Address {
			return true
		}
	}
	return false
}

// move takes the sockets from one interface to another, or to the same one as it is now.
func (t *Transport) move(from, to failover.NIC) error {
	t.detach(from)
	if err := t.attach(to); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	if to.Address != from.Address {
		own, err := listenOwn(to.Address, t.own.LocalAddr().(*net.UDPAddr).AddrPort().Port())
		if err != nil {
			return err
		}
		_ = t.own.Close() // Its reader ends.
		t.own = own
		t.running.Go(func() { t.read(own, false) })
	}
	t.nic = to
	return nil
}
