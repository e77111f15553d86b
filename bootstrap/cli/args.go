package cli

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/understudy-ha/understudy/bootstrap/config"
)

// Usage is the line that every error of the command line ends with.
const Usage = "usage: bootstrap [-Dkey=value] [-agent:NAME[=OPTIONS]] [-cp FOLDER[:FOLDER]] [-Xmx512m] " +
	"[-witness] [-configcheck] [bootstrap.properties] [-- PROGRAM ARGS | COMMAND ...]"

// ToolOptions is the environment variable whose options stand before those of the command line.
const ToolOptions = "BOOTSTRAP_TOOL_OPTIONS"

// Args is a command line in the JVM's style, so that a start script for Interlok runs with bootstrap in place
// of java.
type Args struct {
	// Command is the subcommand, empty to run a node; Rest are its own arguments.
	Command string
	Rest    []string

	// Defines are the -D options in order.
	Defines []config.Define
	// Agents are those of -agent: and -javaagent: in order. The weaver is built in and not among them.
	Agents []Agent
	// Factories are plugins to load beside those of profiler.plugin.factory: failover, for --failover.
	Factories []string
	// Search is the config search path: the folders of the class path.
	Search []string
	// MemoryLimit is -Xmx in bytes; 0 if there is none.
	MemoryLimit int64
	// File is the properties file; empty for the default.
	File string

	Version, Help, ConfigCheck bool
	// Witness: the node only votes.
	Witness bool

	// Program is a program and its arguments that are the workload: what stands behind --.
	Program []string

	// Warnings name the options that mean something to a JVM only.
	Warnings []string
}

// Agent is a plugin that is loaded before the adapter exists.
type Agent struct{ Name, Options string }

// Parse reads the arguments, without the program's name, and before them toolOptions, the value of
// BOOTSTRAP_TOOL_OPTIONS, which is split as a JVM splits JAVA_TOOL_OPTIONS: at blanks, except within single or
// double quotes. The error joins all that was wrong and ends with Usage.
func Parse(args []string, toolOptions string) (Args, error) {
	var p parser
	words, err := config.SplitWords(toolOptions)
	if err != nil {
		p.fault("%s: %w", ToolOptions, err)
	}
	p.words, p.onlyOptions = words, true
	p.parse()
	p.words, p.onlyOptions = args, false
	p.parse()
	if len(p.faults) > 0 {
		return Args{}, errors.Join(append(p.faults, errors.New(Usage))...)
	}
	return p.args, nil
}

type parser struct {
	args   Args
	words  []string
	faults []error
	// onlyOptions: words come from BOOTSTRAP_TOOL_OPTIONS, which has no place for a file or a command.
	onlyOptions bool
}

func (p *parser) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf(format, args...))
}

func (p *parser) parse() {
	for len(p.words) > 0 {
		word := p.words[0]
		p.words = p.words[1:]
		switch {
		case word == "":
			// An unset variable in quotes.
		case p.args.Command != "":
			p.commandWord(word)
		case word == "--" && !p.onlyOptions:
			p.program()
		case strings.HasPrefix(word, "-"):
			if !p.shared(word) {
				p.option(word)
			}
		default:
			p.word(word)
		}
	}
}

// commandWord takes what follows a subcommand: everything is its own, but the options that say which node is
// meant.
func (p *parser) commandWord(word string) {
	if !p.shared(word) {
		p.args.Rest = append(p.args.Rest, word)
	}
}

// shared handles the options that a subcommand has in common with a start.
func (p *parser) shared(word string) bool {
	flag, value, hasValue := strings.Cut(word, "=")
	switch {
	case strings.HasPrefix(word, "-D"):
		p.define(strings.TrimPrefix(word, "-D"))
	case flag == "-cp" || flag == "-classpath" || flag == "--class-path":
		if !hasValue {
			value, hasValue = p.next()
		}
		if !hasValue {
			p.fault("%s needs a path: %s FOLDER[%cFOLDER]", word, flag, filepath.ListSeparator)
			return true
		}
		p.classPath(value)
	default:
		return false
	}
	return true
}

// option handles the options of a start.
func (p *parser) option(word string) {
	switch {
	case strings.HasPrefix(word, "-agent:"):
		p.agent(strings.TrimPrefix(word, "-agent:"))
	case strings.HasPrefix(word, "-javaagent:"):
		p.javaAgent(strings.TrimPrefix(word, "-javaagent:"))
	case strings.HasPrefix(word, "-Xmx"):
		p.memory(strings.TrimPrefix(word, "-Xmx"))
	case word == "-jar":
		// java -jar lib/interlok-boot.jar --failover bootstrap.properties
		if _, ok := p.next(); !ok {
			p.fault("-jar needs a file; bootstrap takes its place, so leave both out")
		}
	case onlyForJVM(word):
		p.args.Warnings = append(p.args.Warnings, word+" is for a JVM and is ignored")
	default:
		p.switchOn(word)
	}
}

func (p *parser) switchOn(word string) {
	switch word {
	case "-version", "--version":
		p.args.Version = true
	case "-h", "-help", "--help", "-?":
		p.args.Help = true
	case "-configcheck", "--configcheck":
		p.args.ConfigCheck = true
	case "-failover", "--failover":
		p.failover()
	case "-witness", "--witness":
		// A witness is there for the election, so it needs no profiler's file to say so.
		p.args.Witness = true
		p.failover()
	default:
		p.fault("unknown option %s", word)
	}
}

// word handles what is not an option: a subcommand, a main class, a properties file.
func (p *parser) word(word string) {
	switch {
	case p.onlyOptions:
		p.fault("%s: %q is not an option; files and commands belong on the command line", ToolOptions, word)
	case strings.HasSuffix(word, "SimpleBootstrap"):
		// Interlok 3.3 and later has a main class of its own for failover.
		if strings.HasPrefix(word, "com.adaptris.failover.") {
			p.failover()
		}
	case p.args.File != "":
		p.fault("%q: there is a properties file already, %q; want one", word, p.args.File)
	case strings.ContainsAny(word, `./\`):
		p.args.File = word
	default:
		p.args.Command = word
	}
}

// program takes the rest of the command line as the workload, as it is.
func (p *parser) program() {
	p.args.Program, p.words = p.words, nil
	if len(p.args.Program) == 0 || p.args.Program[0] == "" {
		p.fault("-- needs a program behind it: bootstrap bootstrap.properties -- PROGRAM ARGS")
	}
}

func (p *parser) failover() {
	if !slices.Contains(p.args.Factories, "failover") {
		p.args.Factories = append(p.args.Factories, "failover")
	}
}

func (p *parser) next() (string, bool) {
	if len(p.words) == 0 {
		return "", false
	}
	word := p.words[0]
	p.words = p.words[1:]
	return word, true
}

func (p *parser) define(text string) {
	key, value, _ := strings.Cut(text, "=")
	if key == "" {
		p.fault("-D%s has no key; want -Dkey=value", text)
		return
	}
	p.args.Defines = append(p.args.Defines, config.Define{Key: key, Value: value})
}

func (p *parser) agent(text string) {
	name, options, _ := strings.Cut(text, "=")
	if !isFileName(name) {
		p.fault("-agent:%s: want the name of a plugin in lib, as in -agent:NAME or -agent:NAME=OPTIONS", text)
		return
	}
	p.args.Agents = append(p.args.Agents, Agent{Name: name, Options: options})
}

// javaAgent takes a path to a jar. AspectJ's weaver is built in, and always on.
func (p *parser) javaAgent(text string) {
	path, options, _ := strings.Cut(text, "=")
	name := path[strings.LastIndexAny(path, `/\`)+1:]
	if strings.Contains(name, "aspectjweaver") {
		return
	}
	name = strings.TrimSuffix(name, ".jar")
	if !isFileName(name) {
		p.fault("-javaagent:%s: want a path, as in -javaagent:lib/NAME.jar or -javaagent:lib/NAME.jar=OPTIONS", text)
		return
	}
	p.args.Agents = append(p.args.Agents, Agent{Name: name, Options: options})
}

// isFileName keeps an agent inside the lib folder.
func isFileName(name string) bool {
	odd := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-", r)
	}
	return name != "" && name[0] != '.' && !strings.ContainsFunc(name, odd)
}

// classPath adds the folders of a class path. Jars have no meaning here; plugins come from the lib folder.
func (p *parser) classPath(path string) {
	for _, item := range filepath.SplitList(path) {
		lower := strings.ToLower(item)
		switch {
		case strings.HasSuffix(lower, ".jar"), strings.HasSuffix(lower, ".zip"), strings.HasSuffix(lower, "*"):
		case item == "":
			p.args.Search = append(p.args.Search, ".")
		default:
			p.args.Search = append(p.args.Search, item)
		}
	}
}

func (p *parser) memory(size string) {
	digits := strings.TrimRight(size, "kKmMgGtT")
	shift := 0
	if len(size) > len(digits) {
		shift = 10 * (1 + strings.IndexByte("kmgt", size[len(digits)]|0x20))
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || len(size)-len(digits) > 1 || n > math.MaxInt64>>shift {
		p.fault("-Xmx%s: want a size in bytes, or with k, m or g, as in -Xmx1024m", size)
		return
	}
	p.args.MemoryLimit = n << shift
}

// onlyForJVM reports options that start scripts have, and that a program without a JVM can only pass over.
func onlyForJVM(word string) bool {
	if word == "-server" || word == "-client" {
		return true
	}
	for _, prefix := range []string{"-X", "-verbose:", "--add-opens=", "--add-exports=", "--add-modules="} {
		if strings.HasPrefix(word, prefix) {
			return true
		}
	}
	return false
}
