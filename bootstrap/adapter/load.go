package adapter

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"gopkg.in/yaml.v3"
)

const (
	// maxFileSize is far above what people write, and low enough that reading it takes no time.
	maxFileSize = 4 << 20
	// maxFaults is how many faults are listed; nobody reads more at once.
	maxFaults = 50
)

// Load reads an adapter file. The error joins all its faults, each as "file:line: key: what, and what is
// allowed there". What the components themselves make of their settings is not looked at: see Check. It can be asked
// about the Config that comes beside an error, too, so that all faults of a file are shown at once; nil if the file
// is not YAML at all.
func Load(file string) (*Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("adapter file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("adapter file %s: %w", file, err)
	}
	return parse(file, text)
}

func parse(file string, text []byte) (*Config, error) {
	if len(text) > maxFileSize {
		return nil, fmt.Errorf("%s:1: the file has more than %d bytes", file, maxFileSize)
	}
	root, err := document(file, text)
	if err != nil {
		return nil, err
	}
	r := &reader{file: file}
	cfg := r.config(r.expand(root))
	sum := sha256.Sum256(text)
	cfg.File, cfg.Digest = file, hex.EncodeToString(sum[:])
	return cfg, r.err()
}

// yamlLine finds the line in an error of the YAML parser, which has it in the text only.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// document returns the one YAML document in text.
func document(file string, text []byte) (*yaml.Node, error) {
	var doc, second yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s:1: adapter: the file is empty; want a mapping with the key adapter", file)
	}
	if err == nil {
		err = d.Decode(&second)
		if errors.Is(err, io.EOF) {
			return doc.Content[0], nil
		}
	}
	if err == nil {
		return nil, fmt.Errorf("%s:%d: a second YAML document begins; want one document", file, second.Line)
	}
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	place := file
	if m[1] != "" {
		place += ":" + m[1]
	}
	return nil, fmt.Errorf("%s: this is not YAML: %s", place, m[2])
}

// reader reads the tree of an adapter file and gathers faults.
type reader struct {
	file   string
	faults []error
	more   int
	// nodes counts what expand has made; open has the anchors that it is inside of.
	nodes int
	open  map[*yaml.Node]bool
}

func (r *reader) fault(at *yaml.Node, key, format string, args ...any) {
	if len(r.faults) == maxFaults {
		r.more++
		return
	}
	line := 1
	if at != nil && at.Line > 0 {
		line = at.Line
	}
	r.faults = append(r.faults, fmt.Errorf("%s:%d: %s: %s", r.file, line, key, fmt.Sprintf(format, args...)))
}

func (r *reader) err() error {
	if r.more > 0 {
		r.faults = append(r.faults, fmt.Errorf("%s: and %d more faults", r.file, r.more))
	}
	return errors.Join(r.faults...)
}
