package folder_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/folder"
)

func TestConsumerDeliversAndDeletes(t *testing.T) {
	dir := t.TempDir()
	write(t, join(dir, "b.json"), "second")
	write(t, join(dir, "a.json"), "first")
	write(t, join(dir, "empty.json"), "")
	write(t, join(dir, ".hidden.json"), "no")
	write(t, join(dir, "note.txt"), "no")
	must(t, os.Mkdir(join(dir, "folder.json"), 0o755))
	config := consumerConfig(dir)
	config.Filter = filter(t, "*.json")
	consumer := openConsumer(t, config)

	first := receive(t, consumer)
	if got := content(t, first); got != "first" {
		t.Errorf("content %q", got)
	}
	for key, want := range map[string]string{
		"fs_name": "a.json", "fs_path": join(dir, "a.json"), "fs_dir": dir, "fs_size": "5",
	} {
		if got := first.Batch.Meta(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, first.Batch.Meta("fs_mod_time")); err != nil {
		t.Error(err)
	}
	expectNames(t, dir, "a.json.wip", "b.json", "empty.json", "folder.json", "note.txt")
	must(t, first.Settle(t.Context(), nil))
	must(t, first.Settle(t.Context(), errors.New("too late"))) // once
	second := receive(t, consumer)
	if got := content(t, second); got != "second" {
		t.Errorf("content %q", got)
	}
	must(t, second.Settle(t.Context(), nil))
	third := receive(t, consumer)
	if got := content(t, third); got != "" || third.Batch.Parts() != 1 {
		t.Errorf("empty file: %d parts, %q", third.Batch.Parts(), got)
	}
	must(t, third.Settle(t.Context(), nil))
	expectNames(t, dir, "folder.json", "note.txt")
	if first.MessageID == second.MessageID || len(first.MessageID) != 32 {
		t.Errorf("ids %q, %q", first.MessageID, second.MessageID)
	}
	<-consumer.Rescanned()
}

func TestConsumerByTime(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for i, name := range []string{"c", "a", "b"} {
		write(t, join(dir, name), name)
		must(t, os.Chtimes(join(dir, name), now, now.Add(time.Duration(i-9)*time.Hour)))
	}
	config := consumerConfig(dir)
	config.Order = folder.OrderTime
	consumer := openConsumer(t, config)
	var got []string
	for range 3 {
		got = append(got, content(t, receive(t, consumer)))
	}
	if !slices.Equal(got, []string{"c", "a", "b"}) {
		t.Errorf("order %q", got)
	}
}

// A node dies with files in its hands; the next one finds them, under the same ids, before all others.
func TestConsumerTakesUpFilesOfADeadNode(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		write(t, join(dir, fmt.Sprint("file", i)), fmt.Sprint(i))
	}
	dead := openConsumer(t, consumerConfig(dir))
	ids := map[string]string{}
	for range 3 {
		delivery := receive(t, dead)
		ids[delivery.Batch.Meta("fs_name")] = delivery.MessageID
	}
	write(t, join(dir, "aaa"), "new")
	write(t, join(dir, "other.txt.wip"), "not by the filter")
	config := consumerConfig(dir)
	config.Filter = filter(t, "[af]*[a0-9]")
	next := openConsumer(t, config)
	var order []string
	for range 6 {
		select {
		case <-next.Rescanned():
			t.Fatal("rescanned before the end")
		default:
		}
		delivery := receive(t, next)
		name := delivery.Batch.Meta("fs_name")
		order = append(order, name)
		if id, taken := ids[name]; taken && id != delivery.MessageID {
			t.Errorf("%s has id %s, had %s", name, delivery.MessageID, id)
		}
		must(t, delivery.Settle(t.Context(), nil))
	}
	<-next.Rescanned()
	if want := []string{"file0", "file1", "file2", "aaa", "file3", "file4"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
	expectNames(t, dir, "other.txt.wip")
}

func TestConsumerIDsTellCopiesApart(t *testing.T) {
	dir := t.TempDir()
	consumer := openConsumer(t, consumerConfig(dir))
	when := time.Unix(1_700_000_000, 0)
	seen := map[string]bool{}
	for range 20 {
		// What cp -p of the same file does, again and again.
		write(t, join(dir, ".copy"), "same")
		must(t, os.Chtimes(join(dir, ".copy"), when, when))
		must(t, os.Rename(join(dir, ".copy"), join(dir, "copy")))
		delivery := receive(t, consumer)
		if seen[delivery.MessageID] && runtime.GOOS == "linux" {
			t.Fatal("two files with one id")
		}
		seen[delivery.MessageID] = true
		must(t, delivery.Settle(t.Context(), nil))
	}
}

func TestTwoConsumersShareAFolder(t *testing.T) {
	const files = 2000
	dir := t.TempDir()
	consumers := []*folder.Consumer{openConsumer(t, consumerConfig(dir)), openConsumer(t, consumerConfig(dir))}
	for i := range files {
		write(t, join(dir, fmt.Sprintf("f%05d", i)), fmt.Sprint(i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	counts := map[string]int{}
	var workers sync.WaitGroup
	for _, consumer := range consumers {
		workers.Go(func() {
			for {
				delivery, err := consumer.Receive(ctx)
				if err != nil {
					return
				}
				text := content(t, delivery)
				if err := delivery.Settle(ctx, nil); err != nil {
					t.Error(err)
				}
				mu.Lock()
				counts[text]++
				if len(counts) == files {
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	for text, count := range counts {
		if count != 1 {
			t.Errorf("file %s was delivered %d times", text, count)
		}
	}
	expectNames(t, dir)
}

func TestConsumerGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, join(dir, "bad"), "bad")
		write(t, join(dir, "good1"), "good")
		config := consumerConfig(dir)
		config.Poll = time.Hour // the ends of pauses do not wait for it
		consumer := openConsumer(t, config)
		begin := time.Now()
		bad := receive(t, consumer)
		must(t, bad.Settle(t.Context(), errors.New("no")))
		expectNames(t, dir, "bad", "good1")
		if delivery := receive(t, consumer); content(t, delivery) != "good" {
			t.Error("a bad file held up a good one")
		}
		var pauses []time.Duration
		for range 12 {
			again, err := consumer.Receive(t.Context())
			must(t, err)
			if again.MessageID != bad.MessageID {
				t.Error("another id")
			}
			pauses = append(pauses, time.Since(begin).Round(100*time.Millisecond))
			begin = time.Now()
			must(t, again.Settle(t.Context(), errors.New("no")))
		}
		for i, pause := range pauses {
			if want := min(30*time.Second, 100*time.Millisecond<<i); pause != want {
				t.Errorf("pause %d is %s, want %s", i, pause, want)
			}
		}
	})
}

func TestConsumerGivesBackNothingOverANewFile(t *testing.T) {
	dir := t.TempDir()
	write(t, join(dir, "a"), "old")
	consumer := openConsumer(t, consumerConfig(dir))
	old := receive(t, consumer)
	write(t, join(dir, "a"), "new")
	must(t, old.Settle(t.Context(), errors.New("no")))
	expectNames(t, dir, "a", "a.wip")
	again := receive(t, consumer)
	if got := content(t, again); got != "old" || again.MessageID != old.MessageID {
		t.Errorf("delivered %q", got)
	}
	must(t, again.Settle(t.Context(), nil))
	if got := content(t, receive(t, consumer)); got != "new" {
		t.Errorf("then %q", got)
	}
}

func TestConsumerDoesNotTakeOverSomebodysFile(t *testing.T) {
	dir := t.TempDir()
	out := &log{}
	config := consumerConfig(dir)
	config.Logger = out.logger()
	consumer := openConsumer(t, config)
	write(t, join(dir, "a.wip"), "somebody else's")
	write(t, join(dir, "a"), "mine later")
	write(t, join(dir, "b"), "mine")
	if got := content(t, receive(t, consumer)); got != "mine" {
		t.Errorf("delivered %q", got)
	}
	must(t, os.Remove(join(dir, "a.wip")))
	if got := content(t, receive(t, consumer)); got != "mine later" {
		t.Errorf("delivered %q", got)
	}
	if out.count("its .wip name is taken") != 1 {
		t.Error("not reported once")
	}
}

func TestConsumerLifecycle(t *testing.T) {
	dir := t.TempDir()
	consumer := folder.NewConsumer(consumerConfig(dir))
	if _, err := consumer.Receive(t.Context()); err == nil {
		t.Error("receive before open")
	}
	must(t, consumer.Close(t.Context()))
	must(t, consumer.Open(t.Context()))
	<-consumer.Rescanned() // nothing is there
	if _, err := consumer.Receive(ended()); !errors.Is(err, context.Canceled) {
		t.Errorf("receive with a context that has ended: %v", err)
	}
	write(t, join(dir, "a"), "x")
	late := receive(t, consumer)
	must(t, consumer.Close(t.Context()))
	must(t, consumer.Close(t.Context()))
	if _, err := consumer.Receive(t.Context()); err == nil {
		t.Error("receive after close")
	}
	must(t, consumer.Open(t.Context()))
	again := receive(t, consumer)
	if again.MessageID != late.MessageID {
		t.Error("another id after it was opened again")
	}
	<-consumer.Rescanned()
	must(t, late.Settle(t.Context(), nil))
	must(t, again.Settle(t.Context(), nil))
	must(t, consumer.Close(t.Context()))
	if !consumer.Redelivers() {
		t.Error("a shared folder redelivers")
	}
}

func TestConsumerFolder(t *testing.T) {
	dir := t.TempDir()
	missing := consumerConfig(join(dir, "missing"))
	err := folder.NewConsumer(missing).Open(t.Context())
	if err == nil || !strings.Contains(err.Error(), missing.Directory) || !strings.Contains(err.Error(), "create: true") {
		t.Errorf("missing folder: %v", err)
	}
	write(t, join(dir, "file"), "")
	if err := folder.NewConsumer(consumerConfig(join(dir, "file"))).Open(t.Context()); err == nil {
		t.Error("a file was opened as a folder")
	}
	missing.Create = true
	out := &log{}
	missing.Logger = out.logger()
	consumer := openConsumer(t, missing)
	// The folder goes, say with its network, and comes back.
	must(t, os.Remove(missing.Directory))
	received := make(chan *adapter.Delivery, 1)
	failed := make(chan error, 1)
	go func() {
		delivery, err := consumer.Receive(within(t))
		received <- delivery
		failed <- err
	}()
	must(t, os.MkdirAll(join(dir, "elsewhere"), 0o755))
	write(t, join(dir, "elsewhere", "a"), "back")
	must(t, os.Rename(join(dir, "elsewhere"), missing.Directory))
	delivery := <-received
	must(t, <-failed)
	if got := content(t, delivery); got != "back" {
		t.Errorf("delivered %q", got)
	}
	if n := out.count("folder cannot be listed"); n > 1 {
		t.Errorf("reported %d times", n)
	}
}
