package cluster

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// AdapterOptions say how the adapter file differs from the plain one. Zero values are the plain one.
type AdapterOptions struct {
	// Pool is how many messages are in flight at one time. Default 4.
	Pool int
	// ConsumerExtra is added to the fs consumer, one "key: value" an element.
	ConsumerExtra []string
}

// Adapter is the adapter file of a cluster in dir: each file of in comes out as JSON with its name and digest.
// The folders are absolute, because the nodes are started in folders of their own.
func Adapter(dir string, options AdapterOptions) string {
	pool := options.Pool
	if pool == 0 {
		pool = 4
	}
	var extra strings.Builder
	for _, line := range options.ConsumerExtra {
		extra.WriteString("\n              " + line)
	}
	return fmt.Sprintf(`adapter:
  id: e2e
  channels:
    - id: files
      workflows:
        - id: in-to-out
          pool: %[2]d
          consumer:
            fs:
              directory: %[1]s/in
              poll: 20ms%[3]s
          services:
            - id: wrap
              mapping: |
                root.name = meta("fs_name")
                root.size = content().length()
                root.sha256 = content().hash("sha256").encode("hex")
                root.content = content().encode("base64")
          producer:
            fs:
              directory: %[1]s/out
              journal: data/journal.log
          on-error:
            fs:
              directory: %[1]s/bad
`, filepath.ToSlash(dir), pool, extra.String())
}

// weaveFile weaves all four aspects, by their old names.
const weaveFile = `<?xml version="1.0" encoding="UTF-8"?>
<aspectj>
  <aspects>
    <aspect name="com.adaptris.profiler.aspects.AdapterAspect"/>
    <aspect name="com.adaptris.profiler.aspects.WorkflowAspect"/>
    <aspect name="com.adaptris.profiler.aspects.ServiceAspect"/>
    <aspect name="com.adaptris.profiler.aspects.ProducerAspect"/>
  </aspects>
</aspectj>
`

// writeConfig fills the folder of a node: config with everything that bootstrap reads.
func writeConfig(dir string, properties map[string]string, adapter string) error {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		if value := properties[key]; value != "" {
			fmt.Fprintf(&text, "%s=%s\n", key, escapeProperty(value))
		}
	}
	config := filepath.Join(dir, "config")
	if err := os.MkdirAll(filepath.Join(config, "META-INF"), 0o755); err != nil {
		return fmt.Errorf("node folder: %w", err)
	}
	files := map[string]string{
		"bootstrap.properties":      text.String(),
		"profiler.properties":       "profiler.plugin.factory=failover\n",
		"META-INF/profiler-aop.xml": weaveFile,
		"adapter.yaml":              adapter,
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(config, filepath.FromSlash(name)), []byte(content), 0o644); err != nil {
			return fmt.Errorf("node folder: %w", err)
		}
	}
	return nil
}

// escapeProperty writes a value so that a properties file gives it back: backslashes are its escape character.
func escapeProperty(value string) string { return strings.ReplaceAll(value, `\`, `\\`) }
