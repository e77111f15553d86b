package loader

import (
	"context"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/go-plugin"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// explain says why a plugin could not be launched: which, where, what was seen, what to do. err is what
// go-plugin made of it, used where we know no better. The process has ended.
func (l *Library) explain(ctx context.Context, p *process, err error) error {
	what := fmt.Sprintf("plugin %s (%s): ", p.name, p.path)
	if !p.settled() {
		return fmt.Errorf("%sprepare its start, with sockets in %s: %w", what, l.sockets.path, err)
	}
	if startErr := p.startError(); startErr != nil && !errors.Is(startErr, errGivenUp) {
		return fmt.Errorf("%s%w", what, explainStart(p.path, startErr))
	}
	hello, spoke := p.output.firstLine()
	cause := context.Cause(ctx)
	switch {
	case spoke && !isHandshake(hello):
		return fmt.Errorf("%sits first line on standard output is %q and not the handshake; a plugin must print nothing there before it calls contract.Serve, and other programs are no plugins (%s)%s",
			what, cut(hello, tailWidth), p.ending(), p.output.lastLines())
	case spoke && explainHandshake(hello) != nil:
		return fmt.Errorf("%s%w", what, explainHandshake(hello))
	case errors.Is(cause, errStartTimeout) && spoke:
		return fmt.Errorf("%sit shook hands but did not answer within plugin.start.timeout=%s%s",
			what, l.options.StartTimeout, p.output.lastLines())
	case errors.Is(cause, errStartTimeout):
		return fmt.Errorf("%sit did not shake hands within plugin.start.timeout=%s; if the machine is that slow, set a longer one%s",
			what, l.options.StartTimeout, p.output.lastLines())
	case cause != nil:
		return fmt.Errorf("%sits start was given up: %w", what, cause)
	case !spoke && p.started():
		return fmt.Errorf("%sit ended before it shook hands: %s; if it is a plugin, look at what it wrote%s",
			what, p.ending(), p.output.lastLines())
	}
	return fmt.Errorf("%s%w%s", what, err, p.output.lastLines())
}

// ending says how the process ended.
func (p *process) ending() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.state == nil:
		return "not started"
	case p.killed && !p.state.Exited():
		return "killed by the host"
	}
	return p.state.String()
}

func (p *process) started() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state != nil
}

func (p *process) startError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.startErr
}

// explainStart says why the system would not run a file.
func explainStart(path string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("this system (%s/%s) cannot run it: it is %s; build it with GOOS=%s GOARCH=%s",
			runtime.GOOS, runtime.GOARCH, format(path), runtime.GOOS, runtime.GOARCH)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("this system does not allow to run it (is the folder mounted noexec?): %w", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("a loader or interpreter that it needs is not there; build it with CGO_ENABLED=0: %w", err)
	case errors.Is(err, syscall.ETXTBSY):
		return fmt.Errorf("somebody is writing to it; put a new version beside it and rename it: %w", err)
	}
	return err
}

// format says what kind of program a file is.
func format(path string) string {
	if f, err := elf.Open(path); err == nil {
		defer f.Close()
		return fmt.Sprintf("an ELF program for %s", strings.TrimPrefix(f.Machine.String(), "EM_"))
	}
	if f, err := macho.Open(path); err == nil {
		defer f.Close()
		return fmt.Sprintf("a macOS program for %s", strings.TrimPrefix(f.Cpu.String(), "Cpu"))
	}
	if f, err := pe.Open(path); err == nil {
		defer f.Close()
		return fmt.Sprintf("a Windows program for machine %#x", f.Machine)
	}
	return "not a program"
}

// isHandshake reports whether a line has go-plugin's form: core version, protocol version, network, address...
func isHandshake(line string) bool {
	parts := strings.Split(strings.TrimSpace(line), "|")
	if len(parts) < 4 {
		return false
	}
	for _, part := range parts[:2] {
		if _, err := strconv.Atoi(part); err != nil {
			return false
		}
	}
	return true
}

// explainHandshake says what is wrong with a handshake; nil if nothing is.
func explainHandshake(line string) error {
	parts := strings.Split(strings.TrimSpace(line), "|")
	if parts[0] != strconv.Itoa(plugin.CoreProtocolVersion) {
		return fmt.Errorf("it speaks version %s of go-plugin's own handshake and this bootstrap version %d; rebuild the plugin with a current go-plugin",
			parts[0], plugin.CoreProtocolVersion)
	}
	version, _ := strconv.Atoi(parts[1])
	if _, known := contract.VersionedPlugins("")[version]; !known {
		newest := contract.ProtocolVersion
		older, newer := "plugin", "bootstrap"
		if version > newest {
			older, newer = newer, older
		}
		return fmt.Errorf("it speaks protocol version %d and this bootstrap %v; the %s is older than the %s: upgrade it",
			version, contract.Versions(), older, newer)
	}
	if len(parts) < 5 || parts[4] != string(plugin.ProtocolGRPC) {
		return errors.New("it speaks net/rpc; only gRPC is allowed: build it with contract.Serve")
	}
	return nil
}
