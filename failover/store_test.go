package failover_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/failover"
)

func TestFileStore(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data", "failover")
	store := openStore(t, folder)
	saved, err := store.Load()
	if err != nil || saved.Term != 0 || saved.Boot != 0 || saved.Nodes != nil {
		t.Errorf("a new store holds %+v, %v", saved, err)
	}
	for term := range uint64(3) {
		if err := store.SaveTerm(term, 1763900000000000000+term); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.SaveNodes([]string{"orders-2", "orders 3"}); err != nil {
		t.Fatal(err)
	}
	boots := map[string]uint64{"orders-2": 1763900000000000003, "orders 3": 1<<64 - 1}
	if err := store.SaveBoots(boots); err != nil {
		t.Fatal(err)
	}
	saved, err = openStore(t, folder).Load()
	if err != nil || !maps.Equal(saved.Boots, boots) || saved.Term != 2 || saved.Boot != 1763900000000000002 || !slices.Equal(saved.Nodes, []string{"orders-2", "orders 3"}) {
		t.Errorf("loaded %+v, %v", saved, err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 3 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

func openStore(t *testing.T, folder string) *failover.FileStore {
	t.Helper()
	store, err := failover.OpenFileStore(folder)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// TestDamagedTerm: a node must not go on with a guess, and people must learn what to do.
func TestDamagedTerm(t *testing.T) {
	t.Parallel()
	for _, content := range []string{
		"", "7", "understudy term 7", "understudy term 7 boot 1", "understudy term 7 boot 1\nmore",
		"understudy term -7 boot 1\n", "understudy term 18446744073709551615 boot 1\n", "\x00\x00\x00\x00",
	} {
		folder := t.TempDir()
		path := filepath.Join(folder, "term")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openStore(t, folder).Load()
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "bootstrap status") {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// TestDamagedNodes: the list only makes a start faster.
func TestDamagedNodes(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "nodes"), []byte(`["a", 7`), 0o600); err != nil {
		t.Fatal(err)
	}
	if saved, err := openStore(t, folder).Load(); err != nil || len(saved.Nodes) != 0 {
		t.Errorf("loaded %+v, %v", saved, err)
	}
}

func TestStoreCannotBeMade(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := failover.OpenFileStore(filepath.Join(file, "failover")); err == nil || !strings.Contains(err.Error(), "data.dir") {
		t.Errorf("got %v", err)
	}
}

func FuzzFileStoreLoad(f *testing.F) {
	f.Add([]byte("understudy term 7 boot 1\n"), []byte(`["a"]`))
	f.Fuzz(func(t *testing.T, term, nodes []byte) {
		folder := t.TempDir()
		for name, data := range map[string][]byte{"term": term, "nodes": nodes} {
			if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		store := openStore(t, folder)
		saved, err := store.Load()
		if err != nil {
			return
		}
		if err := store.SaveTerm(saved.Term, saved.Boot); err != nil {
			t.Fatal(err)
		}
		if again, err := store.Load(); err != nil || again.Term != saved.Term || again.Boot != saved.Boot {
			t.Errorf("not the same again: %+v, %v", again, err)
		}
	})
}
