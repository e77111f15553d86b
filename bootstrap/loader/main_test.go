package loader_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/bootstrap/loader"
	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/plugins/contract/contracttest"
	"github.com/understudy-ha/understudy/profiler"
)

// The test binary, put into a lib folder under one of these names, is a plugin of that kind.
var kinds = map[string]func(){
	"good": func() { contract.Serve(contracttest.Plugin("good")) },
	"agent": func() {
		contract.Serve(contract.Plugin{Name: "agent", Version: "1", Agent: &contracttest.Agent{Name: "agent"}})
	},
	"crash": func() {
		fmt.Fprintln(os.Stderr, "cannot read my own file")
		os.Exit(3)
	},
	"garbage": func() {
		fmt.Println("hello, I am a plugin")
		contract.Serve(contracttest.Plugin("garbage"))
	},
	"hang": func() { _, _ = io.Copy(io.Discard, os.Stdin) },
	"deaf": func() {
		listener, err := net.Listen("unix", filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s"))
		if err != nil {
			panic(err)
		}
		fmt.Printf("1|1|unix|%s|grpc\n", listener.Addr())
		_, _ = io.Copy(io.Discard, os.Stdin)
	},
	"old":    func() { fmt.Println("1|0|unix|/nowhere|grpc") },
	"netrpc": func() { fmt.Println("1|1|unix|/nowhere|netrpc") },
	"future": func() {
		set, _ := contracttest.Plugin("future").Set()
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig: contract.Handshake(), GRPCServer: contract.NewGRPCServer,
			VersionedPlugins: map[int]plugin.PluginSet{9: set[contract.ProtocolVersion]},
		})
	},
	"stranger": func() {
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig: contract.Handshake(), GRPCServer: contract.NewGRPCServer,
			VersionedPlugins: map[int]plugin.PluginSet{1: {}},
		})
	},
	"actor":    func() { contract.Serve(contract.Plugin{Name: "actor", Version: "1", Agent: &actor{}}) },
	"stubborn": func() { contract.Serve(contract.Plugin{Name: "stubborn", Version: "1", Agent: &stubborn{}}) },
}

// actor does what the id of the joinpoint says.
type actor struct{ contracttest.Agent }

func (a *actor) Before(_ context.Context, at profiler.Joinpoint) error {
	switch at.ID {
	case "exit":
		os.Exit(7)
	case "panic":
		go panic("no way out")
		select {}
	case "print":
		fmt.Println("a stray print")
		fmt.Fprintln(os.Stderr, "and one to stderr")
		_, _ = os.NewFile(1, "stdout").WriteString("past go-plugin\n")
		raw := os.NewFile(2, "stderr")
		_, _ = raw.WriteString(`{"@message":1,"@level":2,"@timestamp":3}` + "\n")
		_, _ = raw.WriteString(strings.Repeat("x", 200<<10) + "\n")
		_, _ = raw.WriteString(`{"@level":"warn","@message":"hot","@timestamp":"2026-11-05T10:00:00.000000Z","degrees":81}` + "\n")
	case "environment":
		return &contract.VetoError{Reason: strings.Join(os.Environ(), "\n")}
	case "child":
		// It outlives us unless our whole group is ended.
		child := exec.Command(os.Args[0])
		child.Args[0] = "hang"
		child.Env = os.Environ()
		stdin, err := child.StdinPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			return err
		}
		_ = stdin
		return &contract.VetoError{Reason: fmt.Sprint(child.Process.Pid)}
	}
	return nil
}

type stubborn struct{ contracttest.Agent }

func (s *stubborn) Shutdown(context.Context) error { select {} }

func TestMain(m *testing.M) {
	if be, ok := kinds[filepath.Base(os.Args[0])]; ok {
		be()
		return
	}
	if lib := os.Getenv("LOADER_TEST_HOST_OF"); lib != "" {
		beHost(lib)
		return
	}
	goleak.VerifyTestMain(m)
}

// beHost launches a plugin, prints its process id, and waits to be killed.
func beHost(lib string) {
	library, err := loader.Open(loader.Options{Dir: lib, Checksums: loader.Off})
	if err != nil {
		panic(err)
	}
	p, err := library.Launch(context.Background(), "good")
	if err != nil {
		panic(err)
	}
	fmt.Println(p.PID)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// lib makes a lib folder with plugins of the given kinds.
func lib(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		install(t, self, filepath.Join(dir, name))
	}
	return dir
}

func install(t testing.TB, from, to string) {
	t.Helper()
	if os.Link(from, to) == nil {
		return
	}
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
