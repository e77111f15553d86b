package interlok_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPurePackages: the packet and the rules do no I/O and have no clock, so that any run can be replayed.
func TestPurePackages(t *testing.T) {
	const module = "github.com/understudy-ha/understudy/failover/"
	for dir, ours := range map[string][]string{"packet": nil, "rules": {module + "election", module + "interlok/packet"}} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", dir, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range file.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				io := slices.Contains([]string{"os", "sync", "context", "log/slog", "math/rand", "math/rand/v2", "crypto/rand"}, path)
				stranger := strings.Contains(path, ".") && !slices.Contains(ours, path)
				// net.JoinHostPort only puts a text together.
				if io || stranger || path == "net" && filepath.Base(name) != "members.go" {
					t.Errorf("%s imports %s: it is pure, events in, actions out", name, path)
				}
			}
		}
	}
}
