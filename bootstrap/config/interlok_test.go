package config_test

import (
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/config"
)

// TestInterlokDefaults: group, port and times are Interlok's, unless somebody has said otherwise; and what the host does
// with time follows them.
func TestInterlokDefaults(t *testing.T) {
	for _, test := range []struct {
		name                   string
		lines                  []string
		group, port            string
		patience, beat, lease  time.Duration
		aloneAfter, tcpPort    string
		evidence, evidenceTold string
	}{
		{
			name: "another wire", group: "230.0.0.1", port: "2710",
			patience: 5 * time.Second, beat: time.Second, lease: 5 * time.Second, tcpPort: "2710", evidence: "true", evidenceTold: "true",
		},
		// The leases are those of failover/interlok, TestLease.
		{
			name: "nothing said", lines: []string{"failover.wire=interlok"}, group: "224.0.0.4", port: "4446",
			patience: 30 * time.Second, beat: 3 * time.Second, lease: 9 * time.Second, aloneAfter: "30s", evidence: "false", evidenceTold: "false",
		},
		{
			name: "all said", lines: []string{
				"failover.wire=interlok", "failover.multicast.group=239.1.1.1", "failover.port=5000", "failover.ping.interval.seconds=1",
				"failover.instance.timeout.seconds=6", "cachesync.alone.after=1m", "failover.tcp.port=4000",
			}, group: "239.1.1.1", port: "5000",
			patience: 16 * time.Second, beat: time.Second, lease: 3700 * time.Millisecond, aloneAfter: "1m", tcpPort: "4000",
			evidence: "false", evidenceTold: "false",
		},
		{
			name: "our own defaults, said", lines: []string{"failover.wire=interlok", "failover.group=230.0.0.1", "failover.port=2710"},
			group: "230.0.0.1", port: "2710",
			patience: 30 * time.Second, beat: 3 * time.Second, lease: 9 * time.Second, aloneAfter: "30s", evidence: "false", evidenceTold: "false",
		},
		{
			name: "the key of Interlok's documentation", lines: []string{"failover.wire=interlok", "interval.instance.timeout.seconds=9"},
			group: "224.0.0.4", port: "4446",
			patience: 19 * time.Second, beat: 3 * time.Second, lease: 5550 * time.Millisecond, aloneAfter: "19s", evidence: "false", evidenceTold: "false",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := mustLoad(t, props(test.lines...).write(t), config.Options{})
			properties := c.Properties()
			for key, want := range map[string]string{
				"failover.group": test.group, "failover.port": test.port, "cachesync.alone.after": test.aloneAfter,
				"failover.tcp.port": test.tcpPort, "failover.evidence": test.evidenceTold,
			} {
				if properties[key] != want {
					t.Errorf("%s: %q, want %q", key, properties[key], want)
				}
			}
			if string(c.FailoverEvidence) != test.evidence {
				t.Errorf("evidence %s, want %s", c.FailoverEvidence, test.evidence)
			}
			if c.FailoverPatience() != test.patience || c.FailoverBeat() != test.beat || c.FailoverLease() != test.lease {
				t.Errorf("patience %s, beat %s, lease %s; want %s, %s, %s",
					c.FailoverPatience(), c.FailoverBeat(), c.FailoverLease(), test.patience, test.beat, test.lease)
			}
		})
	}
}

// TestInterlokFaults: what somebody relies on, and an Interlok cluster cannot keep, is a fault.
func TestInterlokFaults(t *testing.T) {
	const at = "bootstrap.properties:2: "
	for _, test := range []struct {
		name    string
		lines   []string
		options config.Options
		want    []string
	}{
		{"voters", []string{"", "failover.wire=interlok", "failover.members=3"}, config.Options{}, []string{
			at + `failover.wire: an Interlok cluster knows no votes; leave failover.members out`,
		}},
		{"its witness", []string{"failover.wire=interlok", "failover.witness=w", "node.id=w"}, config.Options{}, []string{
			at + `failover.witness: an Interlok cluster knows no votes, so this node cannot be its witness; give it an adapter, or leave it out`,
		}},
		{"started as a witness", []string{"", "failover.wire=interlok"}, config.Options{Witness: true}, []string{
			at + `failover.wire: an Interlok cluster knows no votes, so this node cannot be its witness; give it an adapter, or leave it out`,
		}},
		{"the most complete mirror", []string{"failover.wire=interlok", "failover.unclean=false"}, config.Options{}, []string{
			at + `failover.unclean: cannot be promised: in an Interlok cluster the positions decide who leads, the mirror is not asked; leave it out`,
		}},
		{"tcp without a port", []string{"failover.wire=interlok", "failover.socket.mode=tcp", "failover.tcp.peers=b:4000"}, config.Options{}, []string{
			at + `failover.socket.mode: tcp needs failover.tcp.port: Interlok has no default for it; give the port that stands in ` +
				`failover.tcp.peers of the other members`,
		}},
		{"tcp without anything", []string{"failover.wire=interlok", "failover.socket.mode=tcp"}, config.Options{}, []string{
			at + `failover.socket.mode: tcp needs failover.tcp.peers: at least one other node; the others learn of this one`,
			at + `failover.socket.mode: tcp needs failover.tcp.port: Interlok has no default for it; give the port that stands in ` +
				`failover.tcp.peers of the other members`,
		}},
		{"jgroups", []string{"failover.wire=interlok", "failover.socket.mode=jgroups"}, config.Options{}, []string{
			at + `failover.socket.mode: "jgroups" is not spoken here; set tcp or multicast on all members first, Java's too`,
		}},
		{"a timeout of two pings", []string{"failover.wire=interlok", "failover.instance.timeout.seconds=8"}, config.Options{}, []string{
			at + `failover.instance.timeout.seconds: a timeout of 8s is too short for a ping every 3s: one lost ping would make a second ` +
				`primary; want at least 9s on all members, Java's too`,
		}},
		{"the same, by the other name", []string{"failover.wire=interlok", "interval.instance.timeout.seconds=8"}, config.Options{}, []string{
			at + `interval.instance.timeout.seconds: a timeout of 8s is too short for a ping every 3s: one lost ping would make a second ` +
				`primary; want at least 9s on all members, Java's too`,
		}},
		{"a timeout without a lease", []string{"failover.wire=interlok", "failover.instance.timeout.seconds=126"}, config.Options{}, []string{
			at + `failover.instance.timeout.seconds: a timeout of 2m6s is too long for a ping every 3s: a Java member that has just started ` +
				`leads after 10s, and what is left of them for clocks that differ is no lease; want at most 2m5s on all members`,
		}},
		{"seldom pings", []string{"failover.wire=interlok", "failover.ping.interval.seconds=8"}, config.Options{}, []string{
			at + `failover.ping.interval.seconds: a ping every 8s is too seldom: a Java member that has just started leads when it has ` +
				`heard none for 10s; want at most 5 on all members`,
		}},
		{"the mirror's group", []string{"failover.wire=interlok", "cachesync.group=224.0.0.4"}, config.Options{}, []string{
			at + `cachesync.group: failover and cachesync would both use 224.0.0.4:4446; give one of them another group or port`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := props(test.lines...).write(t)
			test.options.Dir = dir
			_, _, err := config.Load(test.options)
			if err == nil {
				t.Fatal("no fault")
			}
			checkLines(t, "faults", lines(dir, err.Error()), test.want)
		})
	}
	// The borders are no faults.
	for _, times := range [][]string{
		{"failover.instance.timeout.seconds=9"}, {"failover.instance.timeout.seconds=125"},
		{"failover.ping.interval.seconds=5"}, {"failover.ping.interval.seconds=1", "failover.instance.timeout.seconds=3"},
	} {
		mustLoad(t, props(append(times, "failover.wire=interlok")...).write(t), config.Options{})
	}
	mustLoad(t, props("failover.wire=interlok", "failover.socket.mode=tcp", "failover.tcp.port=4000", "failover.tcp.peers=b:4000").write(t), config.Options{})
}

// TestInterlokWarnings: what means nothing to such a cluster is named, and what asks for nothing is not.
func TestInterlokWarnings(t *testing.T) {
	const nothing = "means nothing with failover.wire=interlok: "
	files := props("failover.wire=interlok", "failover.retries=7", "failover.evidence=true", "failover.liveness.listen=10.0.0.7:4711",
		"failover.priority=2", "failover.preempt=true", "failover.preempt.delay=5s", "failover.witness=w", "failover.drift=0.01",
		"failover.unclean=true", "failover.key.file=cluster.keys", "failover.slave.position=2", "failover.delay=500")
	files["config/cluster.keys"] = ""
	c, warnings := mustLoad(t, files.write(t), config.Options{})
	checkLines(t, "warnings", warnings, []string{
		"bootstrap.properties:2: failover.retries: " + nothing + "failover.instance.timeout.seconds is how long a member may be silent; " +
			"failover.delay is how often the host reports",
		"bootstrap.properties:3: failover.evidence: " + nothing + "nothing but silence counts in an Interlok cluster",
		"bootstrap.properties:4: failover.liveness.listen: " + nothing + "nothing but silence counts in an Interlok cluster",
		"bootstrap.properties:5: failover.priority: " + nothing + "an Interlok cluster knows positions only; failover.secondary.position counts",
		"bootstrap.properties:6: failover.preempt: " + nothing + "nobody can take the role from a healthy primary of an Interlok cluster",
		"bootstrap.properties:7: failover.preempt.delay: " + nothing + "nobody can take the role from a healthy primary of an Interlok cluster",
		"bootstrap.properties:8: failover.witness: " + nothing + "an Interlok cluster knows no votes",
		"bootstrap.properties:9: failover.drift: " + nothing + "an Interlok cluster knows no votes",
		"bootstrap.properties:10: failover.unclean: " + nothing + "in an Interlok cluster the positions decide who leads, the mirror is not asked",
		"bootstrap.properties:11: failover.key.file: counts for the mirror only: PINGS OF AN INTERLOK CLUSTER ARE NOT AUTHENTICATED, " +
			"whoever is on its network can forge them",
		"bootstrap.properties:12: failover.slave.position: read as failover.secondary.position",
	})
	if c.FailoverEvidence != config.ToggleOff || c.FailoverKeyFile == "" {
		t.Errorf("evidence %s, key file %q; want none of the first, and the second for the mirror", c.FailoverEvidence, c.FailoverKeyFile)
	}
	_, warnings = mustLoad(t, props("failover.wire=interlok", "failover.evidence=false", "failover.priority=0", "failover.preempt=false",
		"failover.members=0", "failover.observe=true", "failover.interface=lo", "failover.ttl=0").write(t), config.Options{})
	checkLines(t, "warnings", warnings, nil)
}
