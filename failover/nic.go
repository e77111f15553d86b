package failover

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// NIC is a network interface and the one of its addresses that this node uses.
type NIC struct {
	Index int
	Name  string
	// Address has no zone.
	Address netip.Addr
	// Reason says for people why it was chosen.
	Reason string
}

// ChooseNIC finds the interface that is up and that a property such as failover.interface means: by its name (eth0),
// by one of its addresses (192.168.1.7), or by a network that it is in (192.168.1.0/24). Of several addresses the first
// that is not link-local is taken, IPv4 before IPv6; with only4 nothing but IPv4 counts. The error lists what there is.
func ChooseNIC(spec string, only4 bool) (NIC, error) {
	all, err := ListNICs()
	if err != nil {
		return NIC{}, err
	}
	return chooseFrom(all, strings.TrimSpace(spec), only4)
}

// ListNICs returns each address of each interface that is up, in the system's order.
func ListNICs() ([]NIC, error) {
	devices, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces: %w", err)
	}
	var all []NIC
	for _, device := range devices {
		if device.Flags&net.FlagUp == 0 {
			continue
		}
		addresses, err := device.Addrs()
		if err != nil {
			continue // It has gone meanwhile.
		}
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				all = append(all, NIC{Index: device.Index, Name: device.Name, Address: prefix.Addr().Unmap().WithZone("")})
			}
		}
	}
	return all, nil
}

func chooseFrom(all []NIC, spec string, only4 bool) (NIC, error) {
	matches, reason, err := matcher(spec)
	if err != nil {
		return NIC{}, err
	}
	named, best := false, -1
	for i, nic := range all {
		if !matches(nic) {
			continue
		}
		named = true
		if only4 && !nic.Address.Is4() {
			continue
		}
		if best < 0 || rank(nic.Address) < rank(all[best].Address) {
			best = i
		}
	}
	switch {
	case best >= 0:
		chosen := all[best]
		chosen.Reason = reason
		return chosen, nil
	case named:
		return NIC{}, fmt.Errorf("the interface that %q means has no IPv4 address; this machine has: %s", spec, words(all))
	case isDown(spec):
		return NIC{}, fmt.Errorf("the interface %s is down, or has no address; bring it up or name another one; this machine has: %s", spec, words(all))
	}
	return NIC{}, fmt.Errorf("there is no such interface: %q is no name, address or network of one that is up; this machine has: %s", spec, words(all))
}

// matcher returns what belongs to a specification, and how to say so.
func matcher(spec string) (matches func(NIC) bool, reason string, err error) {
	if spec == "" {
		return nil, "", errors.New("no interface is named")
	}
	if prefix, err := netip.ParsePrefix(spec); err == nil {
		network := prefix.Masked()
		return func(n NIC) bool { return network.Contains(n.Address) }, "it has an address in " + network.String(), nil
	}
	if ip, err := netip.ParseAddr(spec); err == nil {
		ip = ip.Unmap().WithZone("")
		return func(n NIC) bool { return n.Address == ip }, "it has the address " + ip.String(), nil
	}
	if strings.Contains(spec, "/") {
		return nil, "", fmt.Errorf("%q is no network such as 192.168.1.0/24", spec)
	}
	return func(n NIC) bool { return n.Name == spec }, "it is named", nil
}

// rank orders the addresses of an interface: the lower is the better one to be reached at.
func rank(ip netip.Addr) int {
	r := 0
	if ip.IsLinkLocalUnicast() {
		r += 2
	}
	if !ip.Is4() {
		r++
	}
	return r
}

// isDown reports whether an interface has that name although it was not among those that are up.
func isDown(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

// words lists interfaces with their addresses for an error.
func words(all []NIC) string {
	var names []string
	addresses := map[string][]string{}
	for _, nic := range all {
		if !slices.Contains(names, nic.Name) {
			names = append(names, nic.Name)
		}
		addresses[nic.Name] = append(addresses[nic.Name], nic.Address.String())
	}
	if len(names) == 0 {
		return "none that is up"
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%s (%s)", name, strings.Join(addresses[name], ", "))
	}
	return strings.Join(names, ", ")
}
