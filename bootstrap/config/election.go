package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// CheckOn says on which nodes the check of failover.check runs.
type CheckOn string

// The nodes on which a check runs.
const (
	// CheckAlways: on every node. A standby whose check fails does not stand for election.
	CheckAlways CheckOn = "always"
	// CheckMaster: only where the workload runs.
	CheckMaster CheckOn = "master"
)

// Check is a node's own check of its health. It is off if there is neither a command nor a URL.
type Check struct {
	// Command is a program and its arguments, good if it ends with 0; URL is good if it answers with 2xx.
	Command []string
	URL     string
	// Interval is the pause between two checks, Timeout how long one may take.
	Interval, Timeout time.Duration
	// Rise good ones in a row make a node healthy again, Fall bad ones unhealthy.
	Rise, Fall int
	// Cooldown is how long a node does not stand for election after its check has cost it the mastership.
	Cooldown time.Duration
	On       CheckOn
}

// Enabled reports whether there is a check.
func (c Check) Enabled() bool { return c.URL != "" || len(c.Command) > 0 }

// checkTarget reads failover.check.
func checkTarget(c *Config, value string) error {
	lower := strings.ToLower(value)
	if !strings.HasPrefix(lower, "http://") && !strings.HasPrefix(lower, "https://") {
		return commandLine(func(c *Config) *[]string { return &c.Check.Command })(c, value)
	}
	if err := reference(value); err != nil {
		return err
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" || strings.ContainsFunc(value, unicode.IsSpace) {
		return fmt.Errorf("%s is not a URL; want http://host:port/path, or a command", quoted(value))
	}
	c.Check.URL = value
	return nil
}

// commandLine reads a program and its arguments.
func commandLine(field func(*Config) *[]string) setter {
	return func(c *Config, value string) error {
		if strings.ContainsFunc(value, unicode.IsControl) {
			return fmt.Errorf("%s is not a command: it has control characters", quoted(value))
		}
		if err := reference(value); err != nil {
			return err
		}
		words, err := SplitWords(value)
		if err != nil {
			return fmt.Errorf("%s: %w", quoted(value), err)
		}
		if len(words) > 0 && words[0] == "" {
			return fmt.Errorf("%s is not a command; want a program and its arguments", quoted(value))
		}
		*field(c) = words
		return nil
	}
}

// SplitWords splits a line at blanks as a JVM does: a single or double quote may begin and end within a word and is
// not part of it; there is no way to escape one, and a backslash is a backslash.
func SplitWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord := false
	for _, r := range text {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, inWord = r, true
		case unicode.IsSpace(r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote %c is not closed", quote)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// optional lets an empty value pass, which leaves the choice to whoever reads it.
func optional(set setter) setter {
	return func(c *Config, value string) error {
		if value == "" {
			return nil
		}
		return set(c, value)
	}
}

// peers checks a list of host:port, separated by semicolons; an IPv6 address stands in brackets.
func peers(value string) error {
	for peer := range strings.SplitSeq(value, ";") {
		if peer = strings.TrimSpace(peer); peer == "" {
			continue
		}
		host, port, err := net.SplitHostPort(peer)
		if n, wrong := strconv.ParseUint(port, 10, 16); err != nil || wrong != nil || n == 0 || host == "" ||
			strings.ContainsFunc(host, unicode.IsSpace) {
			return fmt.Errorf("%s is not a peer; want host:port;host:port, and an IPv6 address in brackets, [fd00::7]:2710",
				quoted(peer))
		}
	}
	return nil
}

// fraction checks a part of one.
func fraction(least, most float64) func(string) error {
	return func(value string) error {
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || !(n >= least && n <= most) { // NaN is neither
			return fmt.Errorf("%s is not allowed; want a number from %g to %g, 0.05 for 5 %%", quoted(value), least, most)
		}
		return nil
	}
}

// members reads the number of voters: one alone would be no quorum.
func members(c *Config, value string) error {
	if err := number(0, maxMembers, func(c *Config) *int { return &c.FailoverMembers })(c, value); err != nil {
		return err
	}
	if c.FailoverMembers == 1 {
		c.FailoverMembers = 0
		return errors.New("1 is no quorum: two nodes alone could each be a cluster of one; want 3 or 5, or leave it out")
	}
	return nil
}

// Towards is an address that the node's heartbeats go to, by which the system can tell from which of its own: the
// multicast group, or with failover.socket.mode=tcp the first peer.
func (c *Config) Towards() string {
	properties := c.Properties()
	if properties[socketModeKey] == "tcp" {
		for peer := range strings.SplitSeq(properties[tcpPeersKey], ";") {
			if host, _, err := net.SplitHostPort(strings.TrimSpace(peer)); err == nil {
				return host
			}
		}
	}
	return properties["failover.group"]
}

// crossCheckElection is for rules between the keys of the election.
func (l *loader) crossCheckElection() {
	l.checkInterlok()
	if l.config.Interlok != nil {
		return // No votes, no evidence, no preemption.
	}
	evidence, given := l.given(evidenceKey)
	switch {
	case l.config.FailoverMembers == 0:
	case !given:
		l.config.FailoverEvidence = ToggleOff
		l.config.settings[evidenceKey] = setting{value: string(ToggleOff)}
	case l.config.FailoverEvidence == ToggleOn:
		l.warnAt(evidence.from, evidenceKey, "with failover.members the promise of one master at any time now hangs on every firewall "+
			"between the nodes: one that resets connections in a master's name can feign its death")
	}
	if witness, given := l.given(witnessKey); given && l.config.FailoverMembers == 0 {
		l.warnAt(witness.from, witnessKey, "there is nothing to vote on without failover.members")
	}
	if delay, given := l.given("failover.preempt.delay"); given && l.value("failover.preempt") != string(ToggleOn) {
		l.warnAt(delay.from, "failover.preempt.delay", "counts with failover.preempt=true only")
	}
}

// resolveWitness finds out whether this node only votes: then it needs no adapter.
func (l *loader) resolveWitness(asked bool) {
	name := l.value(witnessKey)
	l.config.Witness = asked || name != "" && name == l.nodeID()
	if asked && name != "" && l.nodeID() != "" && name != l.nodeID() {
		l.faultIn(l.config.settings[witnessKey], witnessKey, "%s is the witness, but this node, which was started with -witness, is %s",
			name, l.nodeID())
	}
}

// nodeID is the node's id, also if it was drawn at an earlier start; empty if it has none yet.
func (l *loader) nodeID() string {
	if l.config.NodeID != "" {
		return l.config.NodeID
	}
	content, err := os.ReadFile(filepath.Join(l.config.DataDir, NodeIDFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// NodeIDFile is where a node keeps the id that it has drawn, in its data folder.
const NodeIDFile = "node-id"

// keyFile resolves failover.key.file and sees that it can be read: without its key a node is a stranger.
func (l *loader) keyFile() {
	s, given := l.given(keyFileKey)
	if !given {
		return
	}
	path, looked := find(s.value, l.search)
	if path == "" {
		l.faultIn(s, keyFileKey, "%s was not found; looked for %s; bootstrap keygen makes one", quoted(s.value), strings.Join(looked, ", "))
		return
	}
	if err := readable(path); err != nil {
		l.faultIn(s, keyFileKey, "%s: %v", l.show(path), err)
	}
	s.value = cmp.Or(path, s.value)
	l.config.settings[keyFileKey] = s
	l.config.FailoverKeyFile = path
}

func readable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("is not a regular file; want a key file")
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return errors.New("cannot be read by this user")
	}
	if err != nil {
		return withoutPath(err)
	}
	return file.Close()
}
