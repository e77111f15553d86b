package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A node that is told to stop while its plugins start has stopped cleanly.
func TestStopDuringStart(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the plugin is a shell script")
	}
	dir := t.TempDir()
	files := map[string]string{
		"config/bootstrap.properties": "data.dir=" + dir + "/data\nlib.dir=" + dir + "/lib\nplugin.checksums=off\n" +
			"plugin.start.timeout=1m\ncluster.name=c\n",
		"config/profiler.properties":       "profiler.plugin.factory=failover\n",
		"config/META-INF/profiler-aop.xml": `<aspectj><aspects><aspect name="AdapterAspect"/></aspects></aspectj>`,
		"config/adapter.yaml": "adapter: {id: a, channels: [{id: c, workflows: [{id: w, consumer: {fs: {directory: " + dir +
			"}}, producer: {fs: {directory: " + dir + "}}}]}]}\n",
		"lib/failover": "#!/bin/sh\ntouch " + dir + "/started\nexec sleep 600\n",
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = watcher.Add(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	go func() { // until the watcher is closed
		for event := range watcher.Events {
			if event.Has(fsnotify.Create) && filepath.Base(event.Name) == "started" {
				stop()
			}
		}
	}()
	defer watcher.Close()
	var out, log bytes.Buffer
	code := Main(ctx, Process{
		Args: []string{"-cp", filepath.Join(dir, "config"), "bootstrap.properties"},
		Env:  func(string) (string, bool) { return "", false }, Stdout: &out, Stderr: &log,
	})
	if code != exitOK {
		t.Errorf("exit code %d\n%s", code, log.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "started")); err != nil {
		t.Errorf("the plugin was not started: %v\n%s", err, log.String())
	}
}

func TestAnswerIsBounded(t *testing.T) {
	hangs := func(ctx context.Context) (int, error) {
		<-ctx.Done()
		return 0, errors.New("plugin failover: premain: nothing came")
	}
	if _, err := answer(t.Context(), time.Millisecond, hangs); err == nil || !strings.Contains(err.Error(), "plugin.start.timeout=1ms") {
		t.Errorf("a plugin that hangs: %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := answer(stopped, time.Hour, hangs); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a node that was told to stop: %v", err)
	}
	if got, err := answer(t.Context(), time.Hour, func(context.Context) (int, error) { return 7, nil }); got != 7 || err != nil {
		t.Errorf("an answer: %d, %v", got, err)
	}
}
