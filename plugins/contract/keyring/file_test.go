package keyring_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/plugins/contract/keyring"
)

func TestLoadIsCareful(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cluster.key")
	if _, err := keyring.Load(path); err == nil || !strings.Contains(err.Error(), "bootstrap keygen") {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("#\n"), 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Load(path); err == nil || !strings.Contains(err.Error(), "small") {
		t.Errorf("too large: %v", err)
	}
	if _, err := keyring.Load(t.TempDir()); err == nil {
		t.Error("a folder was read as a key file")
	}
}

func TestReplaceFollowsALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real.key"), filepath.Join(dir, "link.key")
	if err := keyring.Generate().Create(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.key", link); err != nil {
		t.Skipf("no links here: %v", err)
	}
	next := keyring.Generate()
	if err := next.Replace(link); err != nil {
		t.Fatal(err)
	}
	if loaded, err := keyring.Load(file); err != nil || !bytes.Equal(loaded.Text(), next.Text()) {
		t.Errorf("the file has %v, want %v, %v", loaded, next, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is one no more: %v, %v", info, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("something was left behind: %v, %v", entries, err)
	}
	if err := next.Replace(filepath.Join(dir, "gone.key")); err == nil {
		t.Error("what is not there was replaced")
	}
}

// TestCreateWhereNobodyCan leaves nothing behind.
func TestCreateWhereNobodyCan(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "no", "cluster.key")
	if err := keyring.Generate().Create(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
}

func TestFilesAreTheirOwners(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("files have no such mode here")
	}
	path := filepath.Join(t.TempDir(), "cluster.key")
	ring := keyring.Generate()
	if err := ring.Create(path); err != nil {
		t.Fatal(err)
	}
	mode := func() os.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	if mode() != 0o600 {
		t.Errorf("created with mode %04o", mode())
	}
	for _, wide := range []os.FileMode{0o640, 0o604, 0o620, 0o610} {
		if err := os.Chmod(path, wide); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %04o: %v", wide, err)
		}
	}
	if err := ring.Replace(path); err != nil {
		t.Fatal(err)
	}
	if mode() != 0o600 {
		t.Errorf("replaced with mode %04o", mode())
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Load(path); err != nil {
		t.Errorf("read-only is as good: %v", err)
	}
}
