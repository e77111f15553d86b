//go:build unix

package keyring_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/understudy-ha/understudy/plugins/contract/keyring"
)

// TestPipeIsNoKeyFile: it must not block either.
func TestPipeIsNoKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	if _, err := keyring.Load(path); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("%v", err)
	}
}

// TestReplaceKeepsTheOwner: root rotates the keys of a node that runs as somebody else.
func TestReplaceKeepsTheOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	path := filepath.Join(t.TempDir(), "cluster.key")
	ring := keyring.Generate()
	if err := ring.Create(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12345, 12346); err != nil {
		t.Skipf("not even root can here: %v", err)
	}
	if err := ring.Replace(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || owner.Uid != 12345 || owner.Gid != 12346 {
		t.Errorf("it belongs to %+v", info.Sys())
	}
}
