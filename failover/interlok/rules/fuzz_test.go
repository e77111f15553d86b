package rules_test

import (
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok/packet"
	"github.com/understudy-ha/understudy/failover/interlok/rules"
)

// FuzzEvents gives a machine any events in any order: it never panics, always wants to be called again, pings no
// position 0, leads in growing terms that were saved, and never while a primary that it has heard may live.
func FuzzEvents(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 200, 5, 7, 0, 200, 5, 0x11, 0, 200, 1, 1, 2, 3, 3, 0, 4, 0, 6, 0, 0, 255, 5, 0x91, 0, 20})
	f.Add([]byte("0123456789 the quick brown fox jumps over the lazy dog"))
	f.Fuzz(func(t *testing.T, script []byte) {
		m := rules.New(rules.Config{
			NodeID: "n", ID: packet.NewID([16]byte{0x70}), Interval: interval, Timeout: timeout,
			Listen: rules.DefaultListen, Poll: rules.DefaultPoll, HostDelay: hostDelay, Position: len(script) % 4,
		})
		var now time.Duration
		heard := map[packet.ID]time.Duration{}
		var last, saved uint64
		step := func(event rules.Event) {
			for _, action := range m.Step(event) {
				switch a := action.(type) {
				case election.SaveTerm:
					saved = a.Number
				case election.Promote:
					if a.Term.Number <= last || saved < a.Term.Number {
						t.Errorf("term %v after %d, %d is saved", a.Term, last, saved)
					}
					last = a.Term.Number
					for id, at := range heard {
						if now-at <= timeout {
							t.Errorf("promoted %v after %v was heard", now-at, id)
						}
					}
				case rules.Send:
					if _, err := packet.Encode(a.Ping); err != nil || a.Ping.Position == 0 {
						t.Errorf("%v: %v", a, err)
					}
				}
			}
			if m.Next() <= now {
				t.Fatalf("at %v the next tick is due at %v", now, m.Next())
			}
			s := m.State()
			if s.Lease > now+timeout || s.Role != election.Master && s.Lease != 0 || (s.Role == election.Master) == s.Term.IsZero() {
				t.Fatalf("state %+v", s)
			}
		}
		for len(script) >= 2 {
			what, value := script[0]%8, script[1]
			script = script[2:]
			switch what {
			case 0: // A host that works when it may.
				for until := now + time.Duration(value)*200*time.Millisecond; now < until; {
					now = min(now+hostDelay/2, m.Next(), until)
					leads := m.State().Role == election.Master
					step(rules.HostChanged{At: now, Host: election.Host{CanLead: true, AtRest: !leads, GateOpen: leads}})
				}
			case 1:
				for until := now + time.Duration(value)*100*time.Millisecond; now < until; {
					now = min(m.Next(), until)
					step(rules.Tick{At: now})
				}
			case 2:
				now += time.Duration(value) * 500 * time.Millisecond // A stall.
				step(rules.Tick{At: now})
			case 3:
				step(rules.HostChanged{At: now, Host: election.Host{CanLead: value&1 != 0, AtRest: value&2 != 0, GateOpen: value&6 == 4}})
			case 4:
				step(rules.HostLost{At: now})
			case 5:
				ping := packet.Ping{ID: packet.ID{value & 0x8f, 6: value & 0xf0, 8: 0x80}, Type: packet.Secondary, Position: int(value % 5)}
				if value&0x10 != 0 {
					ping.Type = packet.Primary
					heard[ping.ID] = now
				} else if ping.Position == 4 {
					ping.Position = rules.Goodbye
					delete(heard, ping.ID)
				}
				step(rules.Received{At: now, Ping: ping})
			case 6:
				step(rules.Resign{At: now, Term: m.State().Term})
			case 7:
				step(rules.SaveFailed{At: now, Reason: "fuzz"})
			}
		}
	})
}
