package failover_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The pure packages and what they must not touch. Only direct imports count: fmt alone pulls in os.
var (
	pure = map[string][]string{
		"election": nil,
		"wire": {
			"golang.org/x/crypto/chacha20poly1305",
			"google.golang.org/protobuf/proto",
			"github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1",
			"github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1",
		},
	}
	forbiddenImports = map[string]string{
		"net":          "datagrams come in as events and go out as actions; sockets are package multicast's",
		"os":           "what must be on disk is an action; the files are failover.FileStore's",
		"log":          "what people should know is a Report; package failover logs it",
		"log/slog":     "what people should know is a Report; package failover logs it",
		"math/rand":    "a run must be the same when its events are; nothing here needs chance",
		"math/rand/v2": "a run must be the same when its events are; nothing here needs chance",
		"sync":         "a machine belongs to one goroutine",
		"context":      "nothing here blocks",
	}
	forbiddenCalls = map[string]string{
		"Now": "the time comes in events", "Since": "the time comes in events", "Until": "the time comes in events",
		"Sleep": "nothing here blocks", "After": "the next time is told by Next", "AfterFunc": "the next time is told by Next",
		"NewTimer": "the next time is told by Next", "NewTicker": "the next time is told by Next", "Tick": "the next time is told by Next",
	}
)

func TestPurePackages(t *testing.T) {
	t.Parallel()
	for dir, extra := range pure {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", dir, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			checkImports(t, name, file, extra)
			checkBody(t, name, file)
		}
	}
}

func checkImports(t *testing.T, name string, file *ast.File, extra []string) {
	t.Helper()
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if reason, forbidden := forbiddenImports[path]; forbidden {
			t.Errorf("%s imports %s: %s", name, path, reason)
		}
		if strings.Contains(path, ".") && !slices.Contains(extra, path) {
			t.Errorf("%s imports %s: only the standard library is allowed here, and %v", name, path, extra)
		}
	}
}

func checkBody(t *testing.T, name string, file *ast.File) {
	t.Helper()
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s starts a goroutine: the shell around it does that", name)
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" {
				if reason, forbidden := forbiddenCalls[n.Sel.Name]; forbidden {
					t.Errorf("%s uses time.%s: %s", name, n.Sel.Name, reason)
				}
			}
		}
		return true
	})
}
