package folder_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A gigabyte is refused without being read, once, and what comes after it goes on.
func TestConsumerRefusesWhatIsTooLarge(t *testing.T) {
	dir := t.TempDir()
	out := &log{}
	config := consumerConfig(dir)
	config.Logger = out.logger()
	write(t, join(dir, "a-large"), "")
	must(t, os.Truncate(join(dir, "a-large"), 1<<30))
	must(t, os.Symlink(join(dir, "nowhere"), join(dir, "b-link")))
	write(t, join(dir, "c-small"), "small")
	consumer := openConsumer(t, config)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	delivery := receive(t, consumer)
	runtime.ReadMemStats(&after)
	if got := content(t, delivery); got != "small" {
		t.Errorf("delivered %q", got)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("%d bytes were used", used)
	}
	<-consumer.Rescanned()
	must(t, delivery.Settle(t.Context(), nil))
	for i := range 50 { // many polls
		write(t, join(dir, fmt.Sprint("d", i)), "x")
		must(t, receive(t, consumer).Settle(t.Context(), nil))
	}
	if n := out.count("a-large"); n != 1 || out.count("max-size is 67108864") != 1 || out.count("b-link") != 1 {
		t.Errorf("reported %d times", n)
	}
	must(t, os.Truncate(join(dir, "a-large"), 3))
	if got := content(t, receive(t, consumer)); got != "\x00\x00\x00" {
		t.Errorf("after it has changed: %q", got)
	}
}

func TestConsumerSkipsUnreadableFiles(t *testing.T) {
	if os.Geteuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("this user may read everything")
	}
	dir := t.TempDir()
	out := &log{}
	config := consumerConfig(dir)
	config.Logger = out.logger()
	write(t, join(dir, "a"), "secret")
	must(t, os.Chmod(join(dir, "a"), 0))
	write(t, join(dir, "b"), "open")
	consumer := openConsumer(t, config)
	if got := content(t, receive(t, consumer)); got != "open" {
		t.Errorf("delivered %q", got)
	}
	expectNames(t, dir, "a", "b.wip")
	must(t, os.Chmod(join(dir, "a"), 0o600))
	if got := content(t, receive(t, consumer)); got != "secret" {
		t.Errorf("delivered %q", got)
	}
}

func TestConsumerWaitsUntilAFileIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		config := consumerConfig(dir)
		config.Quiet, config.Poll = time.Second, 10*time.Millisecond
		write(t, join(dir, "a"), "1")
		write(t, join(dir, "b.wip"), "was quiet before")
		consumer := openConsumer(t, config)
		begin := time.Now()
		if got := content(t, receive(t, consumer)); got != "was quiet before" || time.Since(begin) != 0 {
			t.Errorf("delivered %q after %s", got, time.Since(begin))
		}
		changes := time.AfterFunc(900*time.Millisecond, func() { write(t, join(dir, "a"), "12") })
		defer changes.Stop()
		if got := content(t, receive(t, consumer)); got != "12" || time.Since(begin) < 1900*time.Millisecond {
			t.Errorf("delivered %q after %s", got, time.Since(begin))
		}
		<-consumer.Rescanned()
	})
}

func TestConsumerKeepsWhatIsWrittenAfterTheRead(t *testing.T) {
	dir := t.TempDir()
	write(t, join(dir, "a"), "first")
	consumer := openConsumer(t, consumerConfig(dir))
	first := receive(t, consumer)
	file, err := os.OpenFile(join(dir, "a.wip"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = file.WriteString(", then more")
	must(t, errors.Join(err, file.Close()))
	must(t, first.Settle(t.Context(), nil))
	second := receive(t, consumer)
	if got := content(t, second); got != "first, then more" || second.MessageID == first.MessageID {
		t.Errorf("delivered %q", got)
	}
	must(t, os.Remove(join(dir, "a.wip")))
	must(t, second.Settle(t.Context(), nil)) // gone: nothing to do
}

func TestConsumerOddNames(t *testing.T) {
	odd := []string{"with space", "new\nline", "quote'\"", "back\\slash", "ünï", "\xff\xfe", "${! x }", strings.Repeat("n", 250)}
	if runtime.GOOS != "linux" {
		odd = []string{"with space", "ünï", "${! x }"}
	}
	dir := t.TempDir()
	for _, name := range odd {
		write(t, join(dir, name), name)
	}
	consumer := openConsumer(t, consumerConfig(dir))
	for range odd {
		delivery := receive(t, consumer)
		if name := delivery.Batch.Meta("fs_name"); content(t, delivery) != name {
			t.Errorf("%q has the content of %q", name, content(t, delivery))
		}
		must(t, delivery.Settle(t.Context(), nil))
	}
	expectNames(t, dir)
}
