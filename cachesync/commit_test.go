package cachesync_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
)

func TestBacklogBlocksCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, func(c *cachesync.Config) { c.Backlog = 10 << 10 })
		defer net.stop()
		a := net.start("a")
		net.start("b")
		lead(t, a, 1)
		net.cut("a", "b")
		begun := make(chan int, 100)
		var told sync.WaitGroup
		told.Add(100)
		before := time.Now()
		go func() {
			for i := range 100 {
				op := received(fmt.Sprint("m", i))
				op.Payload = make([]byte, 1<<10)
				a.Commit(term(1, "a"), op, false, func(r cachesync.Result, err error) {
					if r != cachesync.Committed {
						t.Errorf("m%d ended as %v: %v", i, r, err)
					}
					told.Done()
				})
				begun <- i
			}
		}()
		synctest.Wait()
		if n := len(begun); n < 5 || n > 12 {
			t.Errorf("%d commits of 1 KiB fit into 10 KiB", n)
		}
		told.Wait()
		if waited := time.Since(before); waited < net.config.LagTimeout {
			t.Errorf("the standby was dropped after %v", waited)
		}
	})
}

func TestEveryCommitIsSettledOnce(t *testing.T) {
	for _, end := range []string{"follow", "kill", "higher term"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNetwork(t, 1, nil)
				net.delay = 5 * time.Millisecond
				defer net.stop()
				a, b := net.start("a"), net.start("b")
				lead(t, a, 1)
				var mu sync.Mutex
				counts := make(map[int]int)
				var order []int
				var writing sync.WaitGroup
				writing.Go(func() {
					for i := range 200 {
						a.Commit(term(1, "a"), received(fmt.Sprint("m", i)), false, func(r cachesync.Result, _ error) {
							mu.Lock()
							defer mu.Unlock()
							counts[i]++
							order = append(order, i)
						})
						time.Sleep(time.Millisecond)
					}
				})
				time.Sleep(50 * time.Millisecond)
				switch end {
				case "follow":
					a.Follow()
				case "kill":
					net.kill(a)
				case "higher term":
					lead(t, b, 2)
				}
				writing.Wait()
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				for i := range 200 {
					if counts[i] != 1 || order[i] != i {
						t.Fatalf("m%d was settled %d times, %d-th is m%d", i, counts[i], i, order[i])
					}
				}
			})
		})
	}
}

func TestQuietCommitsAreAnsweredOnlyIfRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a := net.start("a")
		lead(t, a, 1)
		a.Commit(term(1, "a"), received("m"), true, func(r cachesync.Result, _ error) { t.Errorf("told %v", r) })
		a.Commit(term(1, "a"), received("n"), true, nil)
		told := make(chan cachesync.Result, 1)
		a.Commit(term(1, "a"), ledger.Op{Kind: ledger.Done, MessageID: "x"}, true, func(r cachesync.Result, _ error) { told <- r })
		if r := <-told; r != cachesync.Invalid {
			t.Errorf("told %v", r)
		}
		if got := a.Status().Entries; got != 2 {
			t.Errorf("%d entries", got)
		}
	})
}

func TestAsyncCommitsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, func(c *cachesync.Config) { c.Mode = cachesync.Async })
		defer net.stop()
		a, b := net.start("a"), net.start("b")
		lead(t, a, 1)
		net.cut("a", "b")
		before := time.Now()
		commit(t, a, 1, received("m"), cachesync.Committed)
		if time.Since(before) > 0 {
			t.Error("it waited")
		}
		net.heal()
		synctest.Wait()
		if b.State().Position != a.State().Position {
			t.Error("the standby did not get it")
		}
	})
}

// A standby that does not answer keeps nobody from writing to the own disk.
func TestAsyncWaitsForTheOwnDiskOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, func(c *cachesync.Config) { c.Mode = cachesync.Async })
		defer net.stop()
		net.disks["a"] = newDisk()
		a := net.start("a")
		net.start("b")
		lead(t, a, 1)
		net.cut("a", "b")
		before := time.Now()
		for i := range 10 {
			commit(t, a, 1, received(fmt.Sprint("m", i)), cachesync.Committed)
		}
		if waited := time.Since(before); waited > 100*time.Millisecond {
			t.Errorf("it took %v", waited)
		}
		if got := len(net.disks["a"].entries); got != 10 {
			t.Errorf("%d are on the disk", got)
		}
	})
}
