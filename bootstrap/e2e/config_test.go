package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// refused starts a node that must not start, and wants it to end with one of the exit codes, having said each of
// the texts.
func refused(t *testing.T, node *cluster.Node, codes []int, says []string, args ...string) {
	t.Helper()
	if err := node.StartArgs(args...); err != nil {
		t.Fatal(err)
	}
	code, err := node.Wait(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(codes, code) {
		t.Errorf("exit code %d, want one of %v", code, codes)
	}
	said := node.Log.String()
	for _, text := range says {
		if !strings.Contains(said, text) {
			t.Errorf("it did not say %q", text)
		}
	}
}

// TestWrongConfiguration: whatever is wrong is said, with file, line and key, and nothing was started.
func TestWrongConfiguration(t *testing.T) {
	const start = "bootstrap.properties"
	tests := []struct {
		name       string
		properties map[string]string
		// file is replaced by content, or removed if content is empty.
		file, content string
		args          []string
		says          []string
	}{
		{
			name: "no properties file", file: "bootstrap.properties", args: []string{start},
			says: []string{"bootstrap.properties"},
		},
		{
			name: "a wrong value", properties: map[string]string{"failover.port": "seven"}, args: []string{start},
			says: []string{"failover.port", "seven", "bootstrap.properties"},
		},
		{
			name: "two wrong values, and one on the command line", args: []string{"-Dstop.timeout=soon", start},
			properties: map[string]string{"failover.retries": "0", "cachesync.mode": "perhaps"},
			says:       []string{"failover.retries", "cachesync.mode", "perhaps", "stop.timeout", "soon"},
		},
		{
			name: "an unknown flag", args: []string{"-Zebra", start},
			says: []string{"-Zebra"},
		},
		{
			name: "no adapter file", file: "adapter.yaml", args: []string{start},
			says: []string{"adapter.yaml"},
		},
		{
			name: "an adapter file that is no YAML", file: "adapter.yaml", content: "adapter:\n  id: x\n channels: [\n", args: []string{start},
			says: []string{"adapter.yaml:", "not YAML"},
		},
		{
			name: "an unknown component", file: "adapter.yaml", args: []string{start},
			content: "adapter:\n  id: x\n  channels:\n    - id: c\n      workflows:\n        - id: w\n" +
				"          consumer: {fs: {directory: in}}\n" +
				"          services:\n            - id: s\n              mappping: root = this\n" +
				"          producer: {fs: {directory: out}}\n",
			says: []string{"adapter.yaml:10", "mappping"},
		},
		{
			name: "a wrong mapping and an unknown option", file: "adapter.yaml", args: []string{start},
			content: "adapter:\n  id: x\n  channels:\n    - id: c\n      workflows:\n        - id: w\n" +
				"          consumer: {fs: {directory: in, pol: 1s}}\n" +
				"          services:\n            - id: s\n              mapping: root = (\n" +
				"          producer: {fs: {directory: out}}\n",
			says: []string{"adapter.yaml:7", "pol", "service mapping"},
		},
		{
			name: "a weave file that is no XML", file: "META-INF/profiler-aop.xml", content: "<aspectj><aspects>", args: []string{start},
			says: []string{"profiler-aop.xml"},
		},
		{
			name: "a weave file with an unknown aspect", file: "META-INF/profiler-aop.xml", args: []string{start},
			content: "<aspectj>\n  <aspects>\n    <aspect name=\"com.adaptris.profiler.aspects.ServiceAspekt\"/>\n  </aspects>\n</aspectj>\n",
			says:    []string{"profiler-aop.xml", "ServiceAspekt"},
		},
		{
			name: "everything at once", file: "adapter.yaml", args: []string{start},
			properties: map[string]string{"failover.delay": "-5", "org.aspectj.weaver.loadtime.configuration": "META-INF/none.xml"},
			content:    "adapter:\n  id: x\n  chanels: []\n",
			says:       []string{"failover.delay", "none.xml", "adapter.yaml:3", "chanels"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t, cluster.Options{Nodes: 1, Properties: test.properties})
			node := c.Nodes[0]
			if test.file != "" {
				path := node.ConfigFile(test.file)
				var err error
				if test.content == "" {
					err = os.Remove(path)
				} else {
					err = os.WriteFile(path, []byte(test.content), 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			refused(t, node, []int{2}, test.says, test.args...)
			// Not even the data folder's lock, the id or a socket.
			if _, err := os.Stat(filepath.Join(node.Dir, "data", "control.sock")); err == nil {
				t.Error("it has opened its control socket")
			}
		})
	}
}

// TestUnknownKey: a key of ours that nobody knows is a warning, and the node starts.
func TestUnknownKey(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 1, Properties: map[string]string{"failover.dealy": "100"}})
	node := up(t, c)
	var warned bool
	for _, line := range node.Log.Lines(0) {
		warned = warned || line.Level == "WARN" && strings.Contains(line.Raw, "failover.dealy")
	}
	if !warned {
		t.Error("no warning about failover.dealy")
	}
	stop(t, c)
}

// TestStatusWithoutNode: nobody to ask is a clear answer as well.
func TestStatusWithoutNode(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 1})
	_, err := c.Nodes[0].Command(within(t), "status")
	if err == nil || !strings.Contains(err.Error(), "control.sock") {
		t.Errorf("status of a node that does not run: %v; want an error that names data/control.sock", err)
	}
}
