package loader_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/understudy-ha/understudy/bootstrap/loader"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// Two plugins in parallel, verified, from nothing to their first answer. bare is go-plugin as it comes, with
// SecureConfig and AutoMTLS.
func BenchmarkLaunchTwo(b *testing.B) {
	dir, names := lib(b, "good", "agent"), []string{"good", "agent"}
	self, err := os.ReadFile(filepath.Join(dir, "good"))
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256(self)
	var list []byte
	for _, name := range names {
		list = append(list, []byte(hex.EncodeToString(sum[:])+"  "+name+"\n")...)
	}
	if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), list, 0o644); err != nil {
		b.Fatal(err)
	}
	both := func(one func(name string)) {
		var running sync.WaitGroup
		for _, name := range names {
			running.Go(func() { one(name) })
		}
		running.Wait()
	}

	b.Run("ours", func(b *testing.B) {
		library := open(b, loader.Options{Dir: dir})
		for b.Loop() {
			var plugins sync.Map
			both(func(name string) {
				p, err := library.Launch(b.Context(), name)
				if err != nil {
					b.Error(err)
					return
				}
				plugins.Store(name, p)
			})
			b.StopTimer()
			plugins.Range(func(_, p any) bool {
				if err := p.(*loader.Plugin).Stop(b.Context()); err != nil {
					b.Error(err)
				}
				return true
			})
			b.StartTimer()
		}
		b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/op")
	})
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			var clients sync.Map
			both(func(name string) {
				client := plugin.NewClient(&plugin.ClientConfig{
					HandshakeConfig: contract.Handshake(), VersionedPlugins: contract.VersionedPlugins(name),
					Cmd: exec.Command(filepath.Join(dir, name)), AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
					AutoMTLS: true, SecureConfig: &plugin.SecureConfig{Checksum: sum[:], Hash: sha256.New()},
					Logger: hclog.NewNullLogger(),
				})
				clients.Store(name, client)
				rpc, err := client.Client()
				if err != nil {
					b.Error(err)
					return
				}
				if err := rpc.Ping(); err != nil {
					b.Error(err)
				}
			})
			b.StopTimer()
			clients.Range(func(_, client any) bool {
				client.(*plugin.Client).Kill()
				return true
			})
			b.StartTimer()
		}
		b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/op")
	})
}

// From the kill of a plugin's process to the moment when the host knows.
func BenchmarkExitSeen(b *testing.B) {
	library := open(b, loader.Options{Dir: lib(b, "agent"), Checksums: loader.Off})
	var total time.Duration
	for b.Loop() {
		b.StopTimer()
		p := launch(b, library, "agent")
		process, err := os.FindProcess(p.PID)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		begun := time.Now()
		if err := process.Kill(); err != nil {
			b.Fatal(err)
		}
		<-p.Exited()
		total += time.Since(begun)
	}
	b.ReportMetric(float64(total.Microseconds())/float64(b.N), "us/op")
}
