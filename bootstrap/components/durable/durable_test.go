package durable_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/components/durable"
)

// A file is there whole, or the one before is.
func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node-id")
	for _, content := range []string{"one", "two"} {
		if err := durable.WriteFile(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("%q, %v", got, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := durable.WriteFile(filepath.Join(path, "below"), nil); err == nil {
		t.Error("written below a file")
	}
	// A name that is taken by a folder cannot be replaced; nothing is left behind.
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "x", "y"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(filepath.Join(folder, "x"), nil); err == nil {
		t.Error("a folder was replaced")
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
