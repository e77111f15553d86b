package keyring_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"path/filepath"
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
	lines := strings.Split(strings.TrimSpace(good), "\n")
	key := lines[len(lines)-1] + "\n"
	if _, err := keyring.Parse([]byte("# a comment\r\n\r\n  "+strings.TrimSpace(key)+"\r\n# another"), "keys"); err != nil {
		t.Errorf("comments and the line ends of Windows: %v", err)
	}
	for text, want := range map[string]string{
		"":                                 "keys:",
		"# nothing\n":                      "no key",
		"\nsecret\n":                       "keys:2: a key begins with",
		"understudy-key-1:AAAA\n":          "keys:1: the key is damaged",
		strings.TrimSpace(key) + " # ours": "keys:1: the key is damaged",
		key + key:                          "keys:2: the same key",
		key + string(keyring.Generate().Text()) + string(keyring.Generate().Text()): "a third key",
	} {
		if _, err := keyring.Parse([]byte(text), "keys"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		} else if strings.Contains(err.Error(), "AAAA") || strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

// TestRingKeepsItsSecret: no usual way to print a ring shows a key.
func TestRingKeepsItsSecret(t *testing.T) {
	t.Parallel()
	ring := keyring.Generate()
	text := string(ring.Text())
	secret := strings.TrimSpace(text[strings.LastIndex(text, ":")+1:])
	raw, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("ring", "ring", ring)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("ring", "ring", ring)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		fmt.Fprintf(&log, verb+"\n", ring)
	}
	for _, betrayal := range []string{secret, fmt.Sprintf("%d", raw)[1:40], fmt.Sprintf("%x", raw)[:16], fmt.Sprintf("%#v", raw)[7:40]} {
		if strings.Contains(log.String(), betrayal) {
			t.Errorf("%q was printed:\n%s", betrayal, log.String())
		}
	}
	if name := ring.Fingerprints()[0]; strings.Count(log.String(), name) < 5 {
		t.Errorf("the key's name %s is not printed:\n%s", name, log.String())
	}
}

// TestDerivation holds the derivation to what it always was: a node of another build must derive the same.
func TestDerivation(t *testing.T) {
	t.Parallel()
	ring, err := keyring.Parse([]byte("understudy-key-1:"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))), "keys")
	if err != nil {
		t.Fatal(err)
	}
	for purpose, want := range map[string]string{
		"datagram": "409d06b01758ba0df5b111e5fff9af89bad0ec0837e3969e116ae87a92ab65f0", "mirror": "7242e6dc53f778278f393e4afdfc02507535902121ccf2e1d0d4c55de8169e50", "fingerprint": "3d6504f363623f43f197bc22e55d4a7c63636a446ff9ba77434e160115dde165",
	} {
		if got := fmt.Sprintf("%x", ring.Derive(purpose)[0]); got != want {
			t.Errorf("%s: %s, want %s", purpose, got, want)
		}
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
