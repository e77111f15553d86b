package failover_test

import (
	"net"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/failover"
)

func nic(name, ip string) failover.NIC {
	address, err := failover.ParseAddress(net.JoinHostPort(ip, "1"))
	if err != nil {
		panic(err)
	}
	return failover.NIC{Name: name, Address: address.Addr()}
}

// TestChooseNIC: by name, address and network, on a machine with many interfaces.
func TestChooseNIC(t *testing.T) {
	t.Parallel()
	all := []failover.NIC{
		nic("lo", "127.0.0.1"), nic("lo", "::1"),
		nic("docker0", "172.17.0.1"), nic("docker0", "fe80::42"),
		nic("eth0", "fe80::1"), nic("eth0", "2001:db8::1"), nic("eth0", "169.254.3.3"), nic("eth0", "192.168.1.7"), nic("eth0", "192.168.1.8"),
		nic("tun0", "fd00::5"),
	}
	for _, test := range []struct {
		spec           string
		only4          bool
		name, ip, want string // want is in the reason, or without a name in the error
	}{
		{"eth0", false, "eth0", "192.168.1.7", "it is named"},
		{" eth0 ", true, "eth0", "192.168.1.7", "it is named"},
		{"192.168.1.8", true, "eth0", "192.168.1.8", "it has the address 192.168.1.8"},
		{"192.168.1.0/24", true, "eth0", "192.168.1.7", "it has an address in 192.168.1.0/24"},
		{"192.168.1.99/24", true, "eth0", "192.168.1.7", "it has an address in 192.168.1.0/24"},
		{"172.16.0.0/12", true, "docker0", "172.17.0.1", "172.16.0.0/12"},
		{"0.0.0.0/0", true, "lo", "127.0.0.1", "0.0.0.0/0"},
		{"2001:db8::/32", false, "eth0", "2001:db8::1", "2001:db8::/32"},
		{"tun0", false, "tun0", "fd00::5", "it is named"},
		{"tun0", true, "", "", "has no IPv4 address; this machine has: lo (127.0.0.1, ::1), docker0 (172.17.0.1, fe80::42), eth0 ("},
		{"2001:db8::/32", true, "", "", "has no IPv4 address"},
		{"10.0.0.0/8", true, "", "", "tun0 (fd00::5)"},
		{"eth9", true, "", "", "there is no such interface"},
		{"192.168.1.0/33", true, "", "", "is no network such as 192.168.1.0/24"},
		{"", true, "", "", "no interface is named"},
	} {
		got, err := failover.ChooseFrom(all, strings.TrimSpace(test.spec), test.only4)
		switch {
		case test.name == "":
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q: %+v, %v; want an error with %q", test.spec, got, err, test.want)
			}
		case err != nil:
			t.Errorf("%q: %v", test.spec, err)
		case got.Name != test.name || got.Address.String() != test.ip || !strings.Contains(got.Reason, test.want):
			t.Errorf("%q: %+v, want %s %s, %q", test.spec, got, test.name, test.ip, test.want)
		}
	}
}

// TestChooseNICHere asks the system.
func TestChooseNICHere(t *testing.T) {
	t.Parallel()
	got, err := failover.ChooseNIC("127.0.0.0/8", true)
	if err != nil {
		t.Fatal(err)
	}
	device, err := net.InterfaceByIndex(got.Index)
	if err != nil || device.Name != got.Name || device.Flags&net.FlagLoopback == 0 {
		t.Errorf("%+v: the interface is %+v, %v", got, device, err)
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"192.0.2.7:2710", "[2001:db8::7]:1", "127.0.0.1:65535"} {
		if got, err := failover.ParseAddress(good); err != nil || got.String() != good {
			t.Errorf("%s: %v, %v", good, got, err)
		}
	}
	if got, err := failover.ParseAddress("[::ffff:192.0.2.7]:2710"); err != nil || got.String() != "192.0.2.7:2710" {
		t.Errorf("an IPv4 address in IPv6's form: %v, %v", got, err)
	}
}
