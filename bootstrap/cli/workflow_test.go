package cli

import (
	"strings"
	"testing"
)

const twoWorkflows = `
adapter:
  id: orders
  channels:
  - id: files
    workflows:
    - {id: one, consumer: {fs: {directory: DIR/in1, create: true, poll: 5ms}}, producer: {fs: {directory: DIR/out1, create: true, name: "${! meta(\"fs_name\") }"}}}
    - {id: two, metrics: {slice: 1h}, throttle: {count: 1000}, consumer: {fs: {directory: DIR/in2, create: true, poll: 5ms}}, producer: {fs: {directory: DIR/out2, create: true, name: "${! meta(\"fs_name\") }"}}}
`

func TestWorkflowCommands(t *testing.T) {
	n := startLone(t, twoWorkflows)
	n.write("in1/a", "a")
	n.eventually("a is produced", func() bool { return n.exists("out1/a") })
	out := n.expect(exitOK, []string{"workflow", "list"}, "files/one", "files/two", "started")
	if strings.Contains(out, "stopped") {
		t.Error(out)
	}
	n.expect(exitOK, []string{"workflow", "stop", "one"}, "files/one", "stopped")
	n.write("in1/b", "b")
	n.write("in2/c", "c")
	n.eventually("c is produced", func() bool { return n.exists("out2/c") })
	if n.exists("out1/b") {
		t.Error("a stopped workflow works")
	}
	n.expect(exitOK, []string{"workflow", "list", "-o", "json"}, `"stopped"`, `"started"`)
	n.expect(exitOK, []string{"workflow", "start", "one", "--timeout", "10s"}, "started")
	n.eventually("b is produced", func() bool { return n.exists("out1/b") })
	n.expect(exitOK, []string{"workflow", "stop", "files/"}, "files/one", "files/two", "stopped")
	n.expect(exitOK, []string{"workflow", "start", "files"}, "started")

	n.expect(exitOK, []string{"workflow", "metrics", "two"}, "WORKFLOW", "MESSAGES", "two ")
	n.expect(exitOK, []string{"workflow", "metrics", "two", "-o", "json"}, "messages", "longestNanos")
	n.expect(exitError, []string{"workflow", "metrics", "three"}, `no such workflow: "three"`)
	n.expect(exitError, []string{"workflow", "stop", "three"}, `no such workflow or channel: "three"; there are files/, one, two`)
	n.expect(exitUsage, []string{"workflow"}, "usage: bootstrap workflow list | metrics [ID] | start ID | stop ID")
	n.expect(exitUsage, []string{"workflow", "stop"}, "accepts 1 arg(s)")
	n.expect(exitUsage, []string{"workflow", "stop", "one", "--timeout", "-1s"}, "want a time such as 30s")
}
