package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// -configcheck names every fault of the adapter file at once, and starts nothing.
func TestConfigCheckNamesFaults(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"bootstrap.properties": "data.dir=" + dir + "/data\n",
		"adapter.yaml": "adapter:\n  id: a\n  channels:\n  - id: c\n    workflows:\n    - id: w\n      retry: {tries: 3}\n" +
			"      consumer: {fs: {directory: '${UNDERSTUDY_NOPE}'}}\n      services: [{maping: root = this}, {id: consumer, noop: {}}]\n      producer: {resource: nope}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, log bytes.Buffer
	code := Main(t.Context(), Process{Args: []string{"-cp", dir, "-configcheck"}, Env: noEnv, Stdout: &out, Stderr: &log})
	if code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		"adapter.yaml:7: adapter.channels[0].workflows[0].retry.tries: unknown key; want max, delay, max-delay, factor, steps",
		"adapter.yaml:8: environment variable UNDERSTUDY_NOPE is not set: set it, or give a default with ${UNDERSTUDY_NOPE:default}",
		`adapter.yaml:9: service: unknown type "maping"; did you mean "mapping"?`,
		`adapter.yaml:9: adapter.channels[0].workflows[0].services[1].id: "consumer" is also the id of the step on line 8`,
		`adapter.yaml:10: producer: there is no component resource "nope"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("nobody says %q in\n%s", want, log.String())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("a check has made the data folder")
	}
}
