//go:build unix

package config_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/config"
)

// TestNamedPipe: a file that would keep the reader waiting for ever.
func TestNamedPipe(t *testing.T) {
	dir := files{"adapter.yaml": ""}.write(t)
	if err := syscall.Mkfifo(filepath.Join(dir, "bootstrap.properties"), 0o600); err != nil {
		t.Skip("no named pipes here: ", err)
	}
	_, _, err := config.Load(config.Options{Dir: dir})
	if err == nil || err.Error() != "bootstrap.properties: is not a regular file; want a properties file" {
		t.Errorf("fault: %v", err)
	}
}

func TestForbiddenFile(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := props().write(t)
	if err := os.Chmod(filepath.Join(dir, "bootstrap.properties"), 0); err != nil {
		t.Fatal(err)
	}
	_, _, err := config.Load(config.Options{Dir: dir})
	if err == nil || err.Error() != "bootstrap.properties: cannot be read: permission denied" {
		t.Errorf("fault: %v", err)
	}
}
