package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Everything that is wrong is said in one go, wherever it stands, and nothing is started.
func TestAllFaultsAtOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		"bootstrap.properties":      "failover.delay=soon\nfailover.ports=2711\nlog.format=xml\n",
		"profiler.properties":       "profiler.plugin.factory=failover\n",
		"META-INF/profiler-aop.xml": "<aspectj><aspects>",
		"adapter.yaml": `adapter:
  id: orders
  chanels: []
  channels:
    - workflows:
        - pool: many
          consumer: {fs: {directory: in, pol: 200ms}}
          producer: {fil: {path: out}}
`,
	} {
		path := filepath.Join("config", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	code := Main(t.Context(), Process{
		Stdout: &out, Stderr: &errs, Env: func(string) (string, bool) { return "", false },
	})
	if code != exitUsage {
		t.Errorf("exit code %d, want %d", code, exitUsage)
	}
	for _, want := range []string{
		`config/bootstrap.properties:1: failover.delay: "soon"`,
		"warning: config/bootstrap.properties:2: failover.ports: not a key",
		"config/bootstrap.properties:3: log.format:",
		"profiler-aop.xml:1: ",
		"adapter.yaml:3: adapter.chanels: unknown key",
		`adapter.yaml:6: adapter.channels[0].workflows[0].pool: "many"`,
		`adapter.yaml:7: consumer fs: unknown option "pol"; did you mean "poll"?`,
		`adapter.yaml:8: producer: unknown type "fil"`,
	} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not in:\n%s", want, errs.String())
		}
	}
	if _, err := os.Stat("data"); err == nil {
		t.Error("a data folder was made")
	}
}
