package folder_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/folder"
)

// delivered receives and acknowledges what is there, and returns the paths below the folder in their order.
func delivered(t *testing.T, consumer *folder.Consumer, n int) []string {
	t.Helper()
	var got []string
	for range n {
		d := receive(t, consumer)
		got = append(got, d.Batch.Meta("fs_rel_path"))
		must(t, d.Settle(t.Context(), nil))
	}
	return got
}

func TestFilter(t *testing.T) {
	tests := map[string]struct {
		patterns []string
		want     []string
	}{
		"all":             {nil, []string{"a.json", "b.json", "b.xml", "sub/a.json", "sub/deep/c.json"}},
		"glob":            {[]string{"*.json"}, []string{"a.json", "b.json", "sub/a.json", "sub/deep/c.json"}},
		"alternatives":    {[]string{"{a,c}.json"}, []string{"a.json", "sub/a.json", "sub/deep/c.json"}},
		"several":         {[]string{"a.*", "*.xml"}, []string{"a.json", "b.xml", "sub/a.json"}},
		"exclude":         {[]string{"!*.json"}, []string{"b.xml"}},
		"both":            {[]string{"*.json", "!a*"}, []string{"b.json", "sub/deep/c.json"}},
		"regexp":          {[]string{"regexp:^[bc]\\.j"}, []string{"b.json", "sub/deep/c.json"}},
		"path":            {[]string{"sub/**/*.json"}, []string{"sub/a.json", "sub/deep/c.json"}},
		"path, one level": {[]string{"sub/*"}, []string{"sub/a.json"}},
		"regexp on path":  {[]string{"regexp:^sub/deep/"}, []string{"sub/deep/c.json"}},
		"exclude folder":  {[]string{"!sub/**"}, []string{"a.json", "b.json", "b.xml"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.MkdirAll(join(dir, "sub", "deep"), 0o755))
			must(t, os.MkdirAll(join(dir, ".hidden"), 0o755))
			for _, file := range []string{"a.json", "b.json", "b.xml", "sub/a.json", "sub/deep/c.json", ".hidden/a.json", ".a.json"} {
				write(t, join(dir, file), file)
			}
			config := consumerConfig(dir)
			config.Recursive, config.Filter = true, filter(t, test.patterns...)
			consumer := openConsumer(t, config)
			if got := delivered(t, consumer, len(test.want)); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			<-consumer.Rescanned()
		})
	}
	for _, bad := range []string{"", "[", "{a", "regexp:("} {
		if _, ok := folder.ParsePattern(bad); ok {
			t.Errorf("%q is a pattern", bad)
		}
	}
}

func TestOrder(t *testing.T) {
	for name, test := range map[string]struct {
		order folder.Order
		down  bool
		want  []string
	}{
		"name":       {folder.OrderName, false, []string{"a", "b", "c", "sub/aa"}},
		"name, down": {folder.OrderName, true, []string{"sub/aa", "c", "b", "a"}},
		"time":       {folder.OrderTime, false, []string{"c", "a", "sub/aa", "b"}},
		"time, down": {folder.OrderTime, true, []string{"b", "sub/aa", "a", "c"}},
		"size":       {folder.OrderSize, false, []string{"b", "sub/aa", "c", "a"}},
		"size, down": {folder.OrderSize, true, []string{"a", "c", "sub/aa", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Mkdir(join(dir, "sub"), 0o755))
			now := time.Now()
			for file, about := range map[string][2]int{"c": {1, 30}, "a": {2, 40}, "sub/aa": {3, 20}, "b": {4, 10}} {
				write(t, join(dir, file), string(make([]byte, about[1])))
				must(t, os.Chtimes(join(dir, file), now, now.Add(time.Duration(about[0])*time.Hour)))
			}
			config := consumerConfig(dir)
			config.Recursive, config.Order, config.Descending = true, test.order, test.down
			if got := delivered(t, openConsumer(t, config), 4); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Sub-folders: attributes, the rename in place, and folders that come and go.
func TestSubfolders(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(join(dir, "x", "y"), 0o755))
	write(t, join(dir, "x", "y", "a.json"), "deep")
	must(t, os.Chmod(join(dir, "x", "y", "a.json"), 0o640))
	write(t, join(dir, "x", "b.wip"), "left by a dead node")
	config := consumerConfig(dir)
	config.Recursive = true
	consumer := openConsumer(t, config)
	first := receive(t, consumer)
	if got := content(t, first); got != "left by a dead node" || first.Batch.Meta("fs_rel_path") != "x/b" {
		t.Errorf("first %q, %q", got, first.Batch.Meta("fs_rel_path"))
	}
	must(t, first.Settle(t.Context(), nil))
	d := receive(t, consumer)
	for key, want := range map[string]string{
		"fs_name": "a.json", "fs_path": join(dir, "x", "y", "a.json"), "fs_dir": join(dir, "x", "y"), "fs_rel_path": "x/y/a.json",
		"fs_rel_dir": "x/y", "fs_mode": "0640",
	} {
		if got := d.Batch.Meta(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	expectNames(t, join(dir, "x", "y"), "a.json.wip")
	must(t, d.Settle(t.Context(), errors.New("no")))
	expectNames(t, join(dir, "x", "y"), "a.json")
	must(t, os.RemoveAll(join(dir, "x")))
	must(t, os.Mkdir(join(dir, "new"), 0o755))
	write(t, join(dir, "new", "a.json"), "other")
	if got := content(t, receive(t, consumer)); got != "other" {
		t.Errorf("then %q", got)
	}
}

// receiveLate has all the time of a bubble.
func receiveLate(t *testing.T, consumer *folder.Consumer) *adapter.Delivery {
	t.Helper()
	d, err := consumer.Receive(t.Context())
	must(t, err)
	return d
}

// Weak point of old: a .wip file that came after the first listing waited for the next takeover.
func TestOrphansAreTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		out := &log{}
		config := consumerConfig(dir)
		config.Poll, config.OrphanAfter, config.Logger = time.Second, time.Minute, out.logger()
		consumer := openConsumer(t, config)
		began := time.Now()
		write(t, join(dir, "a"), "orphan")
		must(t, os.Rename(join(dir, "a"), join(dir, "a.wip"))) // the last step of a master that has died
		write(t, join(dir, "busy.wip"), "1")
		grow := time.AfterFunc(50*time.Second, func() { write(t, join(dir, "busy.wip"), "12") })
		defer grow.Stop()
		d := receiveLate(t, consumer)
		if got, took := content(t, d), time.Since(began); got != "orphan" || took < time.Minute || took > time.Minute+5*time.Second {
			t.Errorf("%q after %s", got, took)
		}
		if out.count("nobody has finished it for long") != 1 {
			t.Error("not reported once")
		}
		must(t, d.Settle(t.Context(), nil))
		d = receiveLate(t, consumer)
		if got, took := content(t, d), time.Since(began); got != "12" || took < 110*time.Second {
			t.Errorf("%q after %s: it had changed meanwhile", got, took)
		}
	})
}

// Two consumers of one adapter on one folder: what one has in hand for long is no orphan to the other, nor when the
// other is opened anew.
func TestClaimsKeepConsumersApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		config := consumerConfig(dir)
		config.Poll, config.OrphanAfter, config.Claims = time.Second, time.Minute, folder.NewClaims()
		write(t, join(dir, "a"), "slow")
		first := folder.NewConsumer(config)
		must(t, first.Open(t.Context()))
		slow := receive(t, first)
		second := folder.NewConsumer(config)
		must(t, second.Open(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if d, err := second.Receive(ctx); err == nil {
			t.Errorf("took %q", content(t, d))
		}
		must(t, first.Close(t.Context())) // it has died, or was restarted
		taken := receiveLate(t, second)
		if taken.MessageID != slow.MessageID {
			t.Error("another id")
		}
		must(t, taken.Settle(t.Context(), nil))
		must(t, second.Close(t.Context()))
		expectNames(t, dir)
	})
}

// The system tells of new files: nobody waits for a poll that comes in an hour.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	config := consumerConfig(dir)
	config.Poll, config.Watch, config.Recursive = time.Hour, true, true
	consumer := openConsumer(t, config)
	received := make(chan *adapter.Delivery)
	failed := make(chan error, 1)
	ctx := within(t)
	go func() {
		for {
			d, err := consumer.Receive(ctx)
			if err != nil {
				failed <- err
				return
			}
			received <- d
		}
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case d := <-received:
			if got := content(t, d); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			must(t, d.Settle(t.Context(), nil))
		case err := <-failed:
			t.Fatalf("%s: %v", want, err)
		}
	}
	for i := range 20 {
		name := fmt.Sprint("f", i)
		write(t, join(dir, ".new"), name)
		must(t, os.Rename(join(dir, ".new"), join(dir, name)))
		expect(name)
	}
	// A folder that comes with its file inside, and one more in it later.
	must(t, os.MkdirAll(join(dir, ".later", "deep"), 0o755))
	write(t, join(dir, ".later", "deep", "a"), "inside")
	must(t, os.Rename(join(dir, ".later"), join(dir, "later")))
	expect("inside")
	write(t, join(dir, "later", "deep", ".b"), "inside, later")
	must(t, os.Rename(join(dir, "later", "deep", ".b"), join(dir, "later", "deep", "b")))
	expect("inside, later")
}

func TestTooLargeIsMovedAway(t *testing.T) {
	dir := t.TempDir()
	out := &log{}
	config := consumerConfig(join(dir, "in"))
	config.Create, config.MaxSize, config.TooLarge, config.Logger = true, 10, join(dir, "large"), out.logger()
	must(t, os.Mkdir(join(dir, "in"), 0o755))
	write(t, join(dir, "in", "a"), "far too large")
	write(t, join(dir, "in", "b.wip"), "left, and far too large")
	write(t, join(dir, "in", "c"), "small")
	consumer := openConsumer(t, config)
	if got := content(t, receive(t, consumer)); got != "small" {
		t.Errorf("got %q", got)
	}
	<-consumer.Rescanned()
	expectNames(t, join(dir, "large"), "a", "b")
	write(t, join(dir, "in", "a"), "large again, other")
	write(t, join(dir, "in", "d"), "next")
	if got := content(t, receive(t, consumer)); got != "next" {
		t.Errorf("got %q", got)
	}
	if n := len(names(t, join(dir, "large"))); n != 3 || read(t, join(dir, "large", "a")) != "far too large" {
		t.Errorf("large has %q", names(t, join(dir, "large")))
	}
	if out.count("too large") != 3 {
		t.Error("not reported")
	}
}
