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
