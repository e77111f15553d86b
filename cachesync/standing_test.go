package cachesync_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// patient gives a last standby more time than a lagging one.
func patient(c *cachesync.Config) {
	c.LagTimeout, c.AloneAfter = time.Second, 6*time.Second
}

// A machine is lost. Whoever takes over after the time of an election has everything, and knows it.
func TestStandbyOfALostMachineIsInSyncUntilItTakesOver(t *testing.T) {
	for name, others := range map[string][]string{"two nodes": {"b"}, "three nodes": {"b", "c"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNetwork(t, 1, patient)
				defer net.stop()
				a := net.start("a")
				nodes := []*node{a}
				for _, id := range others {
					nodes = append(nodes, net.start(id))
				}
				lead(t, a, 1)
				commit(t, a, 1, received("m"), cachesync.Committed)
				time.Sleep(time.Second)
				for _, id := range others {
					net.cut("a", id) // nothing is refused, nothing answers
				}
				open := begin(a, 1, received("late"))
				time.Sleep(5 * time.Second) // what the election takes
				for _, p := range nodes[1:] {
					if s := p.State(); !s.InSync || !s.Recorded {
						t.Errorf("%s says %+v", p.id, s)
					}
				}
				select {
				case got := <-open:
					t.Errorf("the lost master has committed without anybody: %v", got.result)
				default:
				}
				taken := lead(t, nodes[1], 2)
				if len(taken.Entries) == 0 || taken.Entries[0].MessageID != "m" {
					t.Errorf("taken over %+v", taken)
				}
				<-open // it goes on alone in the end
			})
		})
	}
}

// A standby that is cut off alone must not believe that it has everything once the others may have gone on.
func TestStandbyThatIsCutOffCountsItselfOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, patient)
		defer net.stop()
		a, b, c := net.start("a"), net.start("b"), net.start("c")
		lead(t, a, 1)
		time.Sleep(time.Second)
		net.cut("a", "b")
		open := begin(a, 1, received("m"))
		for b.State().InSync {
			select {
			case <-open:
				t.Fatal("committed while it still believes to be in sync")
			default:
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := <-open; got.result != cachesync.Committed {
			t.Fatal(got)
		}
		time.Sleep(time.Second)
		if s := c.State(); !s.InSync || s.RecordVersion <= b.State().RecordVersion {
			t.Errorf("c says %+v, b %+v", s, b.State())
		}
		// Not even when the others are gone, too, and their time is over.
		net.kill(a)
		time.Sleep(time.Second)
		net.kill(c)
		for range 100 {
			if s := b.State(); s.InSync {
				t.Fatalf("b says %+v", s)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// The same if the one that it could learn from hears the master late, and so does not count as hearing it: whatever that one
// says just before it learns of the smaller set must have become void before anything is committed without the other.
func TestStandbyThatIsCutOffAsksOneThatHearsLate(t *testing.T) {
	for after := time.Duration(0); after < 300*time.Millisecond; after += 20 * time.Millisecond {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNetwork(t, 1, patient)
				defer net.stop()
				a, b := net.start("a"), net.start("b")
				net.start("c")
				lead(t, a, 1)
				time.Sleep(2 * time.Second)
				net.cut("a", "b")
				time.Sleep(after)
				net.slow("a", "c", 950*time.Millisecond)
				time.Sleep(time.Second)
				net.slow("a", "c", 0)
				open := begin(a, 1, received("m"))
				for begun := time.Now(); time.Since(begun) < 8*time.Second; time.Sleep(5 * time.Millisecond) {
					inSync := b.State().InSync
					select {
					case got := <-open:
						if inSync {
							t.Fatal("committed while b still believes to be in sync")
						}
						if got.result != cachesync.Committed {
							t.Fatal(got)
						}
						return
					default:
					}
				}
				t.Fatal("not committed at all")
			})
		})
	}
}

// A master dies while a node joins, and the node can reach nobody else. The others may be in sync by the set without it,
// so it must not believe that it is in another one before they know of that.
func TestJoinerIsInTheSetWhenTheOthersKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, patient)
		defer net.stop()
		a, b := net.start("a"), net.start("b")
		net.start("d")
		lead(t, a, 1)
		time.Sleep(time.Second)
		for _, cut := range [][2]string{{"a", "b"}, {"a", "d"}, {"b", "c"}, {"c", "d"}} {
			net.cut(cut[0], cut[1])
		}
		c := net.start("c")
		time.Sleep(200 * time.Millisecond)
		believes := c.State().InSync
		net.kill(a)
		lead(t, c, 2)
		open := begin(c, 2, received("m"))
		for range 800 {
			inSync := b.State().InSync
			select {
			case <-open:
				if believes && inSync {
					t.Error("c was in sync and has committed, b says that it is in sync")
				}
				return
			default:
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Error("c has committed nothing")
	})
}

// While a machine is suspended Go's clock stands still, and its master may go on without it.
func TestSuspendedStandbyCountsItselfOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, patient)
		defer net.stop()
		a, b := net.start("a"), net.start("b")
		lead(t, a, 1)
		time.Sleep(time.Second)
		if !b.State().InSync {
			t.Fatalf("b says %+v", b.State())
		}
		b.suspended.Store(int64(time.Hour))
		if s := b.State(); s.InSync {
			t.Errorf("b says %+v", s)
		}
		if word, _ := b.Word(); word.Attached {
			t.Errorf("b says %+v", word)
		}
		time.Sleep(time.Second)
		if !b.State().InSync {
			t.Errorf("b hears its master again and says %+v", b.State())
		}
	})
}

func TestMasterWaitsForRecordsOfThoseThatStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, patient)
		defer net.stop()
		a, b, c := net.start("a"), net.start("b"), net.start("c")
		lead(t, a, 1)
		time.Sleep(100 * time.Millisecond)
		record := a.Status().Record
		if strings.Join(record.Members, " ") != "a b c" {
			t.Fatalf("the set is %v", record)
		}
		net.kill(b)
		commit(t, a, 1, received("m"), cachesync.Committed)
		after := a.Status().Record
		if strings.Join(after.Members, " ") != "a c" || !record.Less(after) {
			t.Errorf("the set is %v after %v", after, record)
		}
		if got := c.Status().Record; got.Compare(after) != 0 || got.Term != term(1, "a") {
			t.Errorf("c knows %v, a has committed with %v", got, after)
		}
	})
}

func TestAloneWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		net := newNetwork(t, 1, func(c *cachesync.Config) { c.Alone = cachesync.Wait })
		net.log = log.logger
		defer net.stop()
		a := net.start("a")
		lead(t, a, 1)
		open := begin(a, 1, received("m"))
		time.Sleep(time.Minute)
		if s := a.State(); s.InSync || !s.Waiting {
			t.Errorf("the master says %+v", s)
		}
		if !strings.Contains(log.String(), "cachesync.alone=wait") {
			t.Errorf("log:\n%s", log.String())
		}
		b := net.start("b")
		if got := <-open; got.result != cachesync.Committed {
			t.Error(got)
		}
		time.Sleep(time.Second)
		if s := a.State(); !s.InSync || s.Waiting || s.Alone {
			t.Errorf("the master says %+v", s)
		}
		net.kill(b)
		open = begin(a, 1, received("n"))
		time.Sleep(time.Minute)
		select {
		case got := <-open:
			t.Errorf("committed alone: %v", got)
		default:
		}
		net.start("c")
		if got := <-open; got.result != cachesync.Committed {
			t.Error(got)
		}
	})
}

// The whole cluster dies. Who was in the last set is in sync when all of it are back, and nobody before.
func TestClusterComesBackFromItsDisks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, patient)
		defer net.stop()
		for _, id := range []string{"a", "b", "c"} {
			net.disks[id] = newDisk()
		}
		a, b, c := net.start("a"), net.start("b"), net.start("c")
		lead(t, a, 1)
		commit(t, a, 1, received("m"), cachesync.Committed)
		net.kill(c)
		commit(t, a, 1, received("n"), cachesync.Committed)
		net.kill(a)
		net.kill(b)
		time.Sleep(time.Minute)
		b, c = net.start("b"), net.start("c")
		time.Sleep(time.Second)
		if b.State().InSync || c.State().InSync {
			t.Error("a may have gone on alone")
		}
		a = net.start("a")
		time.Sleep(time.Second)
		if !a.State().InSync || !b.State().InSync || c.State().InSync {
			t.Errorf("a says %+v\nb %+v\nc %+v", a.State(), b.State(), c.State())
		}
		taken := lead(t, b, 2)
		if len(taken.Entries) != 2 {
			t.Errorf("taken over %+v", taken.Entries)
		}
	})
}

func TestFullStoreRefusesNewMessagesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		net.disks["a"] = newDisk()
		a := net.start("a")
		net.start("b")
		lead(t, a, 1)
		commit(t, a, 1, received("m"), cachesync.Committed)
		a.store.full.Store(true)
		got := <-begin(a, 1, received("n"))
		if got.result != cachesync.NoRoom || got.err == nil || !strings.Contains(got.err.Error(), "/the/path") {
			t.Errorf("told %v, %v", got.result, got.err)
		}
		if s := a.Status(); !strings.Contains(s.Fault, "/the/path") || s.Store != "/the/path" {
			t.Errorf("status %+v", s)
		}
		open := begin(a, 1, ledger.Op{Kind: ledger.Producing, MessageID: "m"})
		time.Sleep(time.Minute)
		select {
		case got := <-open:
			t.Fatalf("settled without room: %v", got)
		default:
		}
		if _, err := a.Lead(t.Context(), term(2, "a")); err == nil || !strings.Contains(err.Error(), "/the/path") {
			t.Errorf("a full node leads: %v", err)
		}
		a.store.full.Store(false)
		if got := <-open; got.result != cachesync.Committed {
			t.Error(got)
		}
		commit(t, a, 1, received("n"), cachesync.Committed)
	})
}

// A full disk keeps nobody from ending.
func TestEndWithAFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		net.disks["a"] = newDisk()
		a := net.start("a")
		lead(t, a, 1)
		commit(t, a, 1, received("m"), cachesync.Committed)
		a.store.full.Store(true)
		open := begin(a, 1, ledger.Op{Kind: ledger.Producing, MessageID: "m"})
		a.run()
		<-a.ended
		if got := <-open; got.result != cachesync.NotLeading {
			t.Errorf("told %v", got.result)
		}
		a.store.full.Store(false)
		time.Sleep(time.Second) // a write that has waited is made
		net.stop()
	})
}

func TestTermIsPromisedOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		net.disks["b"] = newDisk()
		b := net.start("b")
		if _, err := b.Accept(cachesync.Hello{Node: "a", Term: term(5, "a")}); err != nil {
			t.Fatal(err)
		}
		net.kill(b)
		b = net.start("b")
		if _, err := b.Accept(cachesync.Hello{Node: "c", Term: term(4, "c")}); err == nil {
			t.Error("it follows a lower term than it has promised")
		}
	})
}

// quorum is a Recorder that answers when it is told to.
type quorum struct {
	asked  chan cachesync.Record
	answer chan error
}

func (q *quorum) Record(ctx context.Context, record cachesync.Record) error {
	select {
	case q.asked <- record:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-q.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// With a quorum a master goes on without a standby when a majority has that on record, and not before.
func TestQuorumRecordsBeforeAnythingIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		q := &quorum{asked: make(chan cachesync.Record), answer: make(chan error)}
		net.recorder = q
		a, b := net.start("a"), net.start("b")
		led := make(chan struct{})
		go func() {
			defer close(led)
			_, _ = a.Lead(t.Context(), term(1, "a"))
		}()
		for record := range q.asked { // the first may be that of the master alone
			q.answer <- nil
			if record.Has("b") {
				break
			}
		}
		<-led
		commit(t, a, 1, received("m"), cachesync.Committed)
		net.kill(b)
		open := begin(a, 1, received("n"))
		if record := <-q.asked; record.Has("b") || !record.Has("a") {
			t.Errorf("asked to record %v", record)
		}
		q.answer <- errors.New("no majority")
		<-q.asked // it is tried again
		time.Sleep(time.Minute)
		select {
		case got := <-open:
			t.Errorf("committed before it was on record: %v", got)
		default:
		}
		q.answer <- nil
		if got := <-open; got.result != cachesync.Committed {
			t.Error(got)
		}
	})
}

// The first set of a term leaves out the master of the term before. It may be back at any time, so nothing is committed
// before a quorum knows that.
func TestQuorumRecordsTheFirstSetOfATerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		q := &quorum{asked: make(chan cachesync.Record), answer: make(chan error)}
		net.recorder = q
		a := net.start("a")
		lead(t, a, 1)
		open := begin(a, 1, received("m"))
		record := <-q.asked
		synctest.Wait()
		select {
		case got := <-open:
			t.Fatalf("committed before %v was on record: %v", record, got)
		default:
		}
		q.answer <- nil
		if got := <-open; got.result != cachesync.Committed {
			t.Error(got)
		}
	})
}

// A master of a build without records says in each batch whether commits wait for the standby.
func TestMasterWithoutRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		b := net.start("b")
		session, err := b.Accept(cachesync.Hello{Node: "a", Term: term(1, "a")})
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		send := func(member bool) {
			t.Helper()
			if _, err := session.Batch(&cachesync.Batch{Member: member}); err != nil {
				t.Fatal(err)
			}
		}
		for _, member := range []bool{true, false, true} {
			send(member)
			send(member)
			if got := b.State().InSync; got != member {
				t.Errorf("told %v, it says %v", member, got)
			}
		}
		time.Sleep(net.config.LagTimeout)
		if b.State().InSync {
			t.Error("it has heard nothing for the lag timeout")
		}
	})
}
