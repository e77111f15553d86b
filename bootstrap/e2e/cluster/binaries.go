package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const module = "github.com/understudy-ha/understudy"

// Plugins are the plugin binaries that make dist builds.
var plugins = [...]string{"failover", "cachesync"}

// Binaries is where the binaries of the project are.
type Binaries struct {
	// Bootstrap is the file, Lib the folder of the plugins. Both are absolute.
	Bootstrap, Lib string
}

// InDist returns the binaries of a folder that make dist filled.
func InDist(dist string) (Binaries, error) {
	dist, err := filepath.Abs(dist)
	if err != nil {
		return Binaries{}, fmt.Errorf("dist folder: %w", err)
	}
	binaries := Binaries{
		Bootstrap: filepath.Join(dist, "bin", "bootstrap"+exeSuffix()),
		Lib:       filepath.Join(dist, "lib"),
	}
	for _, file := range []string{binaries.Bootstrap, filepath.Join(binaries.Lib, "SHA256SUMS")} {
		if _, err := os.Stat(file); err != nil {
			return Binaries{}, fmt.Errorf("%w; run make dist", err)
		}
	}
	return binaries, nil
}

// Build builds the binaries into dist, as make dist does. It must be called with the module's folder, or one
// below it, as the working folder. Flags go to go build, say -race.
func Build(ctx context.Context, dist string, flags ...string) (Binaries, error) {
	dist, err := filepath.Abs(dist)
	if err != nil {
		return Binaries{}, fmt.Errorf("dist folder: %w", err)
	}
	lib := filepath.Join(dist, "lib")
	targets := [][2]string{{filepath.Join(dist, "bin", "bootstrap"), module + "/bootstrap"}}
	for _, name := range plugins {
		targets = append(targets, [2]string{filepath.Join(lib, name), module + "/plugins/" + name})
	}
	for _, target := range targets {
		if err := build(ctx, target[0], target[1], flags...); err != nil {
			return Binaries{}, err
		}
	}
	if err := WriteChecksums(lib); err != nil {
		return Binaries{}, err
	}
	return InDist(dist)
}

// BuildCommand builds one command of the module, given by its path in it.
func BuildCommand(ctx context.Context, file, path string) error {
	return build(ctx, file, module+"/"+path)
}

func build(ctx context.Context, file, path string, flags ...string) error {
	args := append([]string{"build", "-trimpath", "-o", file + exeSuffix()}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, path)...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", path, err, output)
	}
	return nil
}

// WriteChecksums writes lib/SHA256SUMS for every other file in lib, in the format of sha256sum.
func WriteChecksums(lib string) error {
	entries, err := os.ReadDir(lib)
	if err != nil {
		return fmt.Errorf("checksums: %w", err)
	}
	var sums strings.Builder
	for _, entry := range entries {
		if entry.Name() == "SHA256SUMS" || !entry.Type().IsRegular() {
			continue
		}
		sum, err := hashFile(filepath.Join(lib, entry.Name()))
		if err != nil {
			return fmt.Errorf("checksums: %w", err)
		}
		fmt.Fprintf(&sums, "%s  %s\n", sum, entry.Name())
	}
	if err := os.WriteFile(filepath.Join(lib, "SHA256SUMS"), []byte(sums.String()), 0o644); err != nil {
		return fmt.Errorf("checksums: %w", err)
	}
	return nil
}

func hashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func exeSuffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}
