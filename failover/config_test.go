package failover_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover"
)

func TestDefaultsAreTheOriginals(t *testing.T) {
	t.Parallel()
	c, err := failover.ConfigFromProperties(map[string]string{"node.id": "a", "cluster.name": "orders"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Group != netip.MustParseAddr("230.0.0.1") || c.Port != 2710 || c.Delay != time.Second || c.Retries != 5 ||
		c.TTL != 1 || c.Suspicion() != 5*time.Second || c.Interface != "" || c.Priority != 0 {
		t.Errorf("got %+v", c)
	}
}

func TestProperties(t *testing.T) {
	t.Parallel()
	c, err := failover.ConfigFromProperties(map[string]string{
		"node.id": "a", "cluster.name": "orders", "failover.group": "224.0.0.4", "failover.port": "4446",
		"failover.delay": " 500ms ", "failover.retries": "3", "failover.interface": "lo", "failover.ttl": "0",
		"failover.priority": "-7",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Group.String() != "224.0.0.4" || c.Port != 4446 || c.Delay != 500*time.Millisecond || c.Retries != 3 ||
		c.Interface != "lo" || c.TTL != 0 || c.Priority != -7 {
		t.Errorf("got %+v", c)
	}
}

func TestFaultsNameTheirKey(t *testing.T) {
	t.Parallel()
	faults := map[string]string{
		"node.id": "", "cluster.name": "a\tb", "failover.group": "nowhere", "failover.port": "0",
		"failover.delay": "1", "failover.retries": "2", "failover.ttl": "256", "failover.priority": "high",
	}
	_, err := failover.ConfigFromProperties(faults)
	if err == nil {
		t.Fatal("all were taken")
	}
	for key := range faults {
		if !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%s is not named in:\n%v", key, err)
		}
	}
	for key, value := range map[string]string{"failover.delay": "99999999999999", "failover.port": "70000"} {
		_, err := failover.ConfigFromProperties(map[string]string{"node.id": "a", "cluster.name": "b", key: value})
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s=%s: %v", key, value, err)
		}
	}
}

func FuzzConfigFromProperties(f *testing.F) {
	f.Add("1000", "5", "230.0.0.1", "2710")
	f.Fuzz(func(t *testing.T, delay, retries, group, port string) {
		c, err := failover.ConfigFromProperties(map[string]string{
			"node.id": "a", "cluster.name": "b", "failover.delay": delay, "failover.retries": retries,
			"failover.group": group, "failover.port": port,
		})
		if err == nil && (c.Validate() != nil || c.Suspicion() <= 0) {
			t.Errorf("taken, but not valid: %+v", c)
		}
	})
}

func TestQuorumProperties(t *testing.T) {
	t.Parallel()
	read := func(properties map[string]string) (failover.Config, error) {
		properties["node.id"], properties["cluster.name"] = "a", "orders"
		return failover.ConfigFromProperties(properties)
	}
	c, err := read(map[string]string{
		"failover.members": "3", "failover.preempt": "true", "failover.preempt.delay": "30s", "failover.witness": "w",
		"failover.drift": "0.01", "failover.secondary.position": "2",
	})
	if err != nil || c.Members != 3 || c.Evidence || !c.Preempt || c.PreemptDelay != 30*time.Second || c.Witness || c.Drift != 0.01 || c.Priority != -2 {
		t.Errorf("got %+v, %v", c, err)
	}
	if c, err := read(map[string]string{"failover.members": "3", "failover.witness": "a", "failover.evidence": "true"}); err != nil || !c.Witness || !c.Evidence {
		t.Errorf("the witness: %+v, %v", c, err)
	}
	if c, err := read(map[string]string{"failover.slave.position": "3", "failover.priority": "7"}); err != nil || c.Priority != 7 || !c.Evidence {
		t.Errorf("a priority beside a position: %+v, %v", c, err)
	}
	for _, test := range []struct {
		want       string
		properties map[string]string
	}{
		{"failover.members: 1 is no quorum", map[string]string{"failover.members": "1"}},
		{"failover.members: 10 is out of range", map[string]string{"failover.members": "10"}},
		{"failover.witness: a witness votes, but failover.members is not set", map[string]string{"failover.witness": "a"}},
		{"failover.observe: a witness votes", map[string]string{"failover.members": "3", "failover.witness": "a", "failover.observe": "true"}},
		{"failover.drift: 0.5 is out of range", map[string]string{"failover.drift": "0.5"}},
		{"failover.preempt: \"yes\" is neither", map[string]string{"failover.preempt": "yes"}},
		{"failover.preempt.delay: 48h0m0s is out of range", map[string]string{"failover.preempt.delay": "48h"}},
		{"failover.secondary.position: \"first\" is not", map[string]string{"failover.secondary.position": "first"}},
	} {
		if _, err := read(test.properties); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v, want %q", test.properties, err, test.want)
		}
	}
}
