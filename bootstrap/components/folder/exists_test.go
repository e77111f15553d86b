package folder_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/folder"
)

func namedAs(t testing.TB, dir, name string) folder.ProducerConfig {
	t.Helper()
	parsed, err := service.NewInterpolatedString(name)
	must(t, err)
	config := producerConfig(dir)
	config.Name, config.Idempotent, config.Separator = parsed, false, "\n"
	return config
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	config := namedAs(t, dir, "latest")
	config.IfExists, config.Sync = folder.ExistsReplace, true
	producer := openProducer(t, config)
	for i := range 3 {
		must(t, producer.Produce(t.Context(), outgoing(fmt.Sprint("m", i), "1:a", fmt.Sprint("v", i))))
	}
	expectNames(t, dir, "latest")
	if got := read(t, join(dir, "latest")); got != "v2" {
		t.Errorf("got %q", got)
	}
	if producer.Idempotent() {
		t.Error("what is replaced may be put back by a repeat")
	}
}

func TestAppend(t *testing.T) {
	dir := t.TempDir()
	config := namedAs(t, dir, `log-${! meta("term").split(":").index(0) }.txt`)
	config.IfExists, config.Sync, config.Journal = folder.ExistsAppend, true, join(t.TempDir(), "journal")
	producer := openProducer(t, config)
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			for i := range 25 {
				must(t, producer.Produce(t.Context(), outgoing(fmt.Sprint("m", w, "-", i), "1:a", strings.Repeat(fmt.Sprint(w), 100))))
			}
		})
	}
	workers.Wait()
	lines := strings.Split(strings.TrimSuffix(read(t, join(dir, "log-1.txt")), "\n"), "\n")
	counts := map[string]int{}
	for _, line := range lines {
		counts[line]++
	}
	if len(lines) != 100 || len(counts) != 4 {
		t.Errorf("%d lines, %d kinds", len(lines), len(counts))
	}
	if n := len(journalLines(t, config.Journal)); n != 100 {
		t.Errorf("the journal has %d", n)
	}
	// A newer master writes, and the old one is kept out.
	newer := openProducer(t, config)
	must(t, newer.Produce(t.Context(), outgoing("n", "2:b", "new")))
	if err := producer.Produce(t.Context(), outgoing("old", "1:a", "old")); !errors.Is(err, adapter.ErrFenced) {
		t.Errorf("an old master: %v", err)
	}
	if strings.Contains(read(t, join(dir, "log-1.txt")), "old") {
		t.Error("an old master has written")
	}
}

// A disk that is full leaves no half message. /dev/full is a file that is always full; the limit of a process is
// another way, that is undone.
func TestAppendTakesBackWhatIsHalf(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	dir := t.TempDir()
	must(t, os.Symlink("/dev/full", join(dir, "log")))
	config := namedAs(t, dir, "log")
	config.IfExists = folder.ExistsAppend
	producer := openProducer(t, config)
	err := producer.Produce(t.Context(), outgoing("m", "1:a", "x"))
	if err == nil || !strings.Contains(err.Error(), "no space left on device") || !strings.HasPrefix(err.Error(), "orders/files/work/out: ") {
		t.Error(err)
	}
}

func TestSubfoldersOfTheProducer(t *testing.T) {
	dir := t.TempDir()
	config := namedAs(t, dir, `${! meta("fs_rel_path") }`)
	config.Subfolders, config.FolderPermissions, config.Permissions, config.Sync = true, 0o750, 0o604, true
	producer := openProducer(t, config)
	send := func(name string) error {
		batch := outgoing("m", "1:a", "x")
		batch.SetMeta("fs_rel_path", name)
		return producer.Produce(t.Context(), batch)
	}
	must(t, send("a/b/c.json"))
	must(t, send("a/b/d.json"))
	must(t, send("top.json"))
	if runtime.GOOS != "windows" {
		for path, want := range map[string]os.FileMode{"a": 0o750, "a/b": 0o750, "a/b/c.json": 0o604, "top.json": 0o604} {
			info, err := os.Stat(join(dir, filepath.FromSlash(path)))
			must(t, err)
			if info.Mode().Perm() != want {
				t.Errorf("%s has %o, want %o", path, info.Mode().Perm(), want)
			}
		}
	}
	for name, want := range map[string]string{
		"../evil": "leads out of the folder", "a/../../evil": "leads out of the folder", "/etc/evil": "leads out of the folder", "a//b": "cannot be the name of a file",
		"a/": "cannot be the name", ".understudy-term/x": "are the producer's own", "a/" + strings.Repeat("n", 300): "too long",
		"top.json/x": "make sub-folder", "a/b/c.json": "is there already",
	} {
		if err := send(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
	flat := namedAs(t, t.TempDir(), `${! meta("fs_rel_path") }`)
	batch := outgoing("m", "1:a", "x")
	batch.SetMeta("fs_rel_path", "a/b")
	if err := openProducer(t, flat).Produce(t.Context(), batch); err == nil || !strings.Contains(err.Error(), "or set subfolders: true") {
		t.Error(err)
	}
}

// In append mode too, folders and permissions are as asked for.
func TestAppendIntoSubfolder(t *testing.T) {
	dir := t.TempDir()
	config := namedAs(t, dir, "x/log")
	config.IfExists, config.Subfolders, config.Permissions, config.Separator = folder.ExistsAppend, true, 0o640, "--"
	producer := openProducer(t, config)
	must(t, producer.Produce(t.Context(), outgoing("a", "", "1", "2")))
	// The number of a part would give each a file of its own; both have the name of the batch.
	if got := names(t, join(dir, "x")); len(got) == 0 {
		t.Fatal("nothing was written")
	}
	for _, name := range names(t, join(dir, "x")) {
		if info, err := os.Stat(join(dir, "x", name)); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o640 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	if got := read(t, join(dir, "x", "log")); got != "1--2--" {
		t.Errorf("got %q", got)
	}
}
