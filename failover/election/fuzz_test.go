package election_test

import (
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
)

// FuzzMachine feeds a machine any sequence of events, sensible or not: it must not panic, must keep its rules,
// and must always want to be woken soon.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17})
	f.Add([]byte{1, 200, 0, 1, 200, 0, 1, 200, 0, 3, 50, 9, 3, 51, 200})
	f.Add([]byte{255, 1, 2, 12, 1, 1, 13, 1, 0, 14, 2, 2, 15, 1, 1, 16, 1, 3, 2, 1, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		const delay = 100 * time.Millisecond
		config := election.Config{ID: "m", Boot: 5, Start: time.Second, Delay: delay, Retries: 3, Term: 2, Drift: 0.05}
		if len(script) > 0 && script[0]%2 == 1 {
			config.Members = 3
			config.Vote = election.Vote{Member: true, Voters: election.Voters{
				Stamp: election.Stamp{Count: 1}, IDs: []string{"k", "l", "m"}, Settled: script[0]%4 == 1,
			}}
		}
		m := election.New(config)
		now := time.Second
		var saved uint64 = 2
		granted := config.Vote.Granted
		var term election.Term
		for len(script) >= 3 {
			kind, a, b := script[0], script[1], script[2]
			script = script[3:]
			now += time.Duration(a) * time.Millisecond
			claimedNow := false
			for _, action := range m.Step(anyEvent(kind, a, b, now)) {
				switch action := action.(type) {
				case election.SaveTerm:
					if action.Number < saved {
						t.Fatalf("term %d saved after %d", action.Number, saved)
					}
					saved, claimedNow = action.Number, true
				case election.SaveVote:
					if action.Vote.Granted != granted && action.Vote.Granted.Number <= granted.Number {
						t.Fatalf("granted %v after %v", action.Vote.Granted, granted)
					}
					granted = action.Vote.Granted
				case election.Send:
					if answer, ok := action.Message.Body.(election.Answer); ok && answer.Vote && answer.Claim != granted {
						t.Fatalf("%v while %v is granted", answer, granted)
					}
				case election.Promote:
					if !term.IsZero() || action.Term.Number > saved || claimedNow {
						t.Fatalf("%v while %v is held and %d saved", action, term, saved)
					}
					term = action.Term
				case election.Demote:
					if action.Term != term {
						t.Fatalf("%v while %v is held", action, term)
					}
					term = election.Term{}
				}
			}
			state := m.State()
			if state.Term != term || (state.Role == election.Master) == term.IsZero() {
				t.Fatalf("state %+v while %v is held", state, term)
			}
			// A message may have come a little before now.
			if next := m.Next() - now; next <= -time.Millisecond || next > delay/2 {
				t.Fatalf("next tick in %v", next)
			}
			if peers := len(m.Peers()); peers > election.MaxPeers {
				t.Fatalf("%d peers", peers)
			}
		}
	})
}

// anyEvent makes an event of three bytes.
func anyEvent(kind, a, b byte, now time.Duration) election.Event {
	id := string(rune('k' + b%4)) // k, l, m itself, n
	if b > 240 {
		id += string(rune(a)) // crowds
	}
	term := election.Term{Number: uint64(b % 7), Node: id}
	msg := election.Message{
		From: id, Boot: 4 + uint64(a%3), Sequence: uint64(a) + 1,
		About: election.About{
			Role: election.Role(1 + b%4), CanLead: a%2 == 0, AtRest: a%5 != 0, GateOpen: a%7 == 0,
			Standing: election.Standing{InSync: b%2 == 0, Priority: int(b % 3)},
			Heard:    election.Heard{Term: election.Term{Number: uint64(a % 7), Node: "k"}, Sequence: uint64(b), Age: time.Duration(a) * time.Millisecond},
		},
	}
	received := func(body election.Body) election.Event {
		msg.Body = body
		return election.Received{At: now - time.Duration(b)*time.Microsecond, Message: msg}
	}
	liveness := election.Liveness{Address: "10.0.0.1:1", Process: uint64(b%3) + 1}
	voters := election.Voters{
		Stamp: election.Stamp{Number: uint64(a % 3), Count: uint64(b % 4)}, IDs: []string{"k", "l", "m", "n"}[a%3 : 1+a%3+b%2], Settled: a%4 != 0,
	}
	switch kind % 17 {
	case 0:
		return election.HostChanged{At: now, Host: election.Host{CanLead: true, AtRest: true, InSync: a%2 == 0}}
	case 1:
		return election.HostChanged{At: now, Host: election.Host{CanLead: a%2 == 0, AtRest: b%2 == 0, GateOpen: b%3 == 0}}
	case 2:
		return received(election.Heartbeat{Term: term, Sequence: uint64(a), Members: []string{"m", "x", id}, Liveness: liveness})
	case 3:
		return received(election.Presence{Asks: a%2 == 0})
	case 4:
		return received(election.Claim{Term: term, Standing: msg.About.Standing, HeardTerm: msg.About.Heard.Term, HeardSequence: uint64(b), Resigned: a%4 == 0})
	case 5:
		return received(election.Answer{Claim: election.Term{Number: uint64(a % 9), Node: "m"}, Verdict: election.Verdict(1 + b%3)})
	case 6:
		return received(election.Resignation{Term: term, Sequence: uint64(a)})
	case 7:
		return election.Resign{At: now, Term: election.Term{Number: uint64(a % 9), Node: "m"}}
	case 8:
		return election.SaveFailed{At: now, Reason: "disk full"}
	case 9:
		return election.PeerGone{At: now - time.Duration(a)*time.Microsecond, Watch: election.Watch{Term: term, Liveness: liveness}}
	case 10:
		return election.HostLost{At: now}
	case 11:
		return received(election.Ack{Term: election.Term{Number: uint64(a % 9), Node: "m"}, Sequence: uint64(b), Voters: voters.Stamp})
	case 12:
		return received(election.Answer{Claim: election.Term{Number: uint64(a % 9), Node: "m"}, Verdict: election.Grant, Vote: true, Highest: uint64(b)})
	case 13:
		return election.ChangeMembers{At: now, Add: []string{"", "k", "n"}[a%3], Remove: []string{"", "l", "m"}[b%3]}
	case 14:
		msg.About.Voters, msg.About.Members = voters, 3
		return received(election.Presence{})
	case 15:
		msg.About.Pause = election.Pause{Counter: uint64(a), Node: id, On: b%2 == 0}
		return received(election.Presence{})
	}
	return election.Tick{At: now}
}
