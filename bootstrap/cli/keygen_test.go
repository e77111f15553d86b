package cli

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/plugins/contract/keyring"
)

func keygen(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newKeygenCommand()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.Execute()
	return out.String(), err
}

func TestKeygen(t *testing.T) {
	t.Parallel()
	out, err := keygen(t)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Parse([]byte(out), "stdout"); err != nil {
		t.Error(err)
	}
	path := filepath.Join(t.TempDir(), "cluster.key")
	if _, err := keygen(t, "-o", path); err != nil {
		t.Fatal(err)
	}
	if _, err := keygen(t, "-o", path); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("written twice: %v", err)
	}
	before, err := keyring.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keygen(t, "--promote", path); err == nil {
		t.Error("one key was put before itself")
	}
	for _, step := range []struct{ option, next string }{{"--add", "--promote " + path}, {"--promote", "--drop " + path}} {
		out, err := keygen(t, step.option, path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out, "bootstrap keygen "+step.next) || !strings.Contains(out, "0600") {
			t.Errorf("%s does not say what comes next: %q", step.option, out)
		}
	}
	after, err := keyring.Load(path)
	if err != nil || after.Len() != 2 || after.Fingerprints()[1] != before.Fingerprints()[0] {
		t.Errorf("added and promoted: %v, %v", after.Fingerprints(), err)
	}
	if _, err := keygen(t, "--add", path); err == nil || !strings.Contains(err.Error(), "--drop") {
		t.Errorf("a third key: %v", err)
	}
	if _, err := keygen(t, "--drop", path); err != nil {
		t.Fatal(err)
	}
	if out, err := keygen(t, "--show", path); err != nil || !strings.Contains(out, after.Fingerprints()[0]) {
		t.Errorf("%q, %v", out, err)
	}
}
