package netns_test

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

const contradicted = "does a firewall reset connections?"

// reset makes the host's firewall answer in the name of its processes that nobody listens at the port, as
// REJECT --reject-with tcp-reset does; port "" is every one. What is established already ends with the next packet.
func (n *network) reset(host, port string) {
	n.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		n.t.Skip("no nft command: apt-get install nftables")
	}
	match := "meta l4proto tcp"
	if port != "" {
		match = "tcp dport " + port
	}
	script := "table ip forger {\n chain in {\n type filter hook input priority 0\n " + match + " reject with tcp reset\n }\n}"
	n.must("netns", "exec", n.space(host), "nft", script)
}

// accept takes the rule away.
func (n *network) accept(host string) {
	n.must("netns", "exec", n.space(host), "nft", "delete table ip forger")
}

// watched waits until every standby has met the process of the master, and returns its liveness port.
func (s *stage) watched(master *cluster.Node) (port string) {
	s.t.Helper()
	for _, node := range s.others(master) {
		s.eventually(node.ID+" watches "+master.ID, func() error {
			status, err := node.Status(s.t.Context())
			if err != nil {
				return err
			}
			w := status.GetElection().GetWatched()
			if w.GetNodeId() != master.ID || !w.GetConnected() {
				return fmt.Errorf("it watches %v", w)
			}
			_, port, err = net.SplitHostPort(w.GetAddress())
			return err
		})
	}
	return port
}

// TestForgedReset: a firewall that resets connections makes the standbys take a living master for gone. It objects:
// either its word comes in time, and nothing happens but a claim, or there is a second master until the first hears
// of it. In the end there is one, and nothing is lost. Where such a firewall stands failover.evidence=false is right:
// then nothing happens at all.
func TestForgedReset(t *testing.T) {
	s := newStage(t)
	master := s.settled()
	port := s.watched(master)
	s.busy(100)
	before := s.promotions()
	s.net.reset(master.ID, port)
	// The connections are idle: the next packet is a keep-alive, fifteen seconds after the last.
	s.eventually("a standby is deceived", func() error {
		for _, node := range s.others(master) {
			if strings.Contains(node.Log.String(), contradicted) {
				return nil
			}
		}
		for id, n := range s.promotions() {
			if n > before[id] {
				return nil
			}
		}
		return errors.New("none says so")
	})
	s.feed("during", 100)
	s.settled()
	t.Logf("promotions %v, then %v", before, s.promotions())
	s.net.accept(master.ID)
	s.feed("after", 50)
	s.settled()
	s.end()
}

// TestForgedResetWithoutEvidence: no connection of the master's counts, so nobody can feign its death.
func TestForgedResetWithoutEvidence(t *testing.T) {
	s := newStageWith(t, map[string]string{"failover.evidence": "false"})
	master := s.settled()
	before := s.promotions()
	s.net.reset(master.ID, "")
	s.eventually("the mirrors have lost the master", func() error {
		status, err := master.Status(t.Context())
		if err != nil {
			return err
		}
		if n := status.GetMirror().GetState().GetInSyncStandbys(); n > 0 {
			return fmt.Errorf("%d are in sync", n)
		}
		return nil
	})
	<-time.After(2 * time.Second) // Four times what silence would need.
	s.net.accept(master.ID)
	if now := s.settled(); now != master {
		t.Errorf("%s leads, %s did", now.ID, master.ID)
	}
	for id, n := range s.promotions() {
		if n != before[id] {
			t.Errorf("%s was promoted %d times, then %d", id, before[id], n)
		}
	}
	s.end()
}
