package filename_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/components/filename"
)

func TestForID(t *testing.T) {
	for id, want := range map[string]string{
		"plain-1": "plain-1", "a/b": "a%2Fb", "..": "%2E.", "a%2Fb": "a%252Fb", "\xff": "%FF", "grün": "grün", "a:b*?": "a%3Ab%2A%3F",
		"orders/w@2026-11-24T08:00:00Z": "orders%2Fw@2026-11-24T08%3A00%3A00Z",
	} {
		if got := filename.ForID(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
	if got := filename.ForID(strings.Repeat("x", 200)); len(got) != 64 || got != filename.Hash(strings.Repeat("x", 200)) {
		t.Error(got)
	}
}

func FuzzForID(f *testing.F) {
	f.Add("a/b", "a%2Fb")
	f.Add("", ".")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := filename.ForID(a), filename.ForID(b)
		if a != b && x == y {
			t.Errorf("%q and %q are both %q", a, b, x)
		}
		if !filepath.IsLocal(x) || strings.ContainsAny(x, "/\x00") || len(x) > 100 || x == "." {
			t.Errorf("%q gives %q", a, x)
		}
	})
}
