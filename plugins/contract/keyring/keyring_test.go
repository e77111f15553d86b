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

func TestRingSurvivesItsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cluster.key")
	ring := keyring.Generate()
	if err := ring.Create(path); err != nil {
		t.Fatal(err)
	}
	if err := keyring.Generate().Create(path); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a second one over the first: %v", err)
	}
	loaded, err := keyring.Load(path)
	if err != nil || !bytes.Equal(loaded.Text(), ring.Text()) {
		t.Fatalf("%v", err)
	}
	rotated := both(t, loaded)
	if err := rotated.Replace(path); err != nil {
		t.Fatal(err)
	}
	loaded, err = keyring.Load(path)
	if err != nil || loaded.Len() != 2 || loaded.Fingerprints()[1] != ring.Fingerprints()[0] || loaded.Fingerprints()[0] == ring.Fingerprints()[0] {
		t.Errorf("after a rotation: %v, %v", loaded.Fingerprints(), err)
	}
	if _, err := loaded.Add(); err == nil {
		t.Error("a third key was added")
	}
	dropped, err := loaded.Drop()
	if err != nil || dropped.Len() != 1 || dropped.Fingerprints()[0] != loaded.Fingerprints()[0] {
		t.Errorf("dropped: %v, %v", dropped.Fingerprints(), err)
	}
	if _, err := dropped.Promote(); err == nil {
		t.Error("the only key was put before itself")
	}
}

// both adds a key to a ring and puts it first.
func both(t *testing.T, ring keyring.Ring) keyring.Ring {
	t.Helper()
	added, err := ring.Add()
	if err != nil {
		t.Fatal(err)
	}
	promoted, err := added.Promote()
	if err != nil {
		t.Fatal(err)
	}
	return promoted
}

func TestDerivedKeysDiffer(t *testing.T) {
	t.Parallel()
	ring := both(t, keyring.Generate())
	seen := map[[keyring.KeySize]byte]bool{}
	for _, purpose := range []string{"datagram", "mirror"} {
		for _, key := range ring.Derive(purpose) {
			if seen[key] {
				t.Error("a key was derived twice")
			}
			seen[key] = true
		}
	}
	if again := ring.Derive("mirror"); !seen[again[0]] || !seen[again[1]] {
		t.Error("derivation is not repeatable")
	}
}

func TestFaultsNameTheLine(t *testing.T) {
	t.Parallel()
	good := string(keyring.Generate().Text())
	key := good[strings.Index(good, "understudy-key"):]
	for text, want := range map[string]string{
		"":                        "keys:",
		"# nothing\n":             "no key",
		"\nsecret\n":              "keys:2: a key begins with",
		"understudy-key-1:AAAA\n": "keys:1: the key is damaged",
		key + key:                 "keys:2: the same key",
		key + string(keyring.Generate().Text()) + string(keyring.Generate().Text()): "a third key",
	} {
		if _, err := keyring.Parse([]byte(text), "keys"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		} else if strings.Contains(err.Error(), "AAAA") || strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func TestLoadIsCareful(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cluster.key")
	if _, err := keyring.Load(path); err == nil || !strings.Contains(err.Error(), "bootstrap keygen") {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, keyring.Generate().Text(), 0o600); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("readable by others: %v", err)
		}
	}
	if _, err := keyring.Load(t.TempDir()); err == nil {
		t.Error("a folder was read as a key file")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(keyring.Generate().Text())
	f.Fuzz(func(t *testing.T, text []byte) {
		ring, err := keyring.Parse(text, "keys")
		if err != nil {
			return
		}
		again, err := keyring.Parse(ring.Text(), "keys")
		if err != nil || !bytes.Equal(again.Text(), ring.Text()) {
			t.Errorf("%v", err)
		}
	})
}
