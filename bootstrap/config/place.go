package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// source is the kind of place that a setting comes from, in the order of precedence.
type source uint8

const (
	fromDefault source = iota
	fromFile
	fromDefine
)

// place is where something was written. The zero place is the table of defaults.
type place struct {
	source source
	// file is shown to people; rank is its position among the files read.
	file string
	rank int
	// line counts from 1; for -D it is the position on the command line. 0 is the file as a whole.
	line int
}

func define(position int) place { return place{source: fromDefine, line: position} }

func (p place) isDefault() bool { return p.source == fromDefault }

// String gives "default", "-D", file or file:line.
func (p place) String() string {
	switch {
	case p.source == fromDefault:
		return "default"
	case p.source == fromDefine:
		return "-D"
	case p.line == 0:
		return p.file
	}
	return p.file + ":" + strconv.Itoa(p.line)
}

func (p place) compare(other place) int {
	return cmp.Or(
		cmp.Compare(p.source, other.source),
		cmp.Compare(p.rank, other.rank),
		cmp.Compare(p.line, other.line),
	)
}

// remark is a fault or a warning.
type remark struct {
	at   place
	text string
}

// inOrder gives the texts by place, so that a reader goes through each file from top to bottom.
func inOrder(remarks []remark) []string {
	slices.SortStableFunc(remarks, func(a, b remark) int { return a.at.compare(b.at) })
	var texts []string
	for _, r := range remarks {
		texts = append(texts, r.text)
	}
	return texts
}

func newRemark(at place, key, format string, args ...any) remark {
	text := fmt.Sprintf(format, args...)
	if key != "" {
		text = printable(key) + ": " + text
	}
	if !at.isDefault() {
		text = at.String() + ": " + text
	}
	return remark{at: at, text: text}
}

func (l *loader) faultAt(at place, key, format string, args ...any) {
	l.faults = append(l.faults, newRemark(at, key, format, args...))
}

// faultIn is faultAt for the setting of a key.
func (l *loader) faultIn(s setting, key, format string, args ...any) {
	l.faultAt(s.from, cmp.Or(s.spelled, key), format, args...)
}

func (l *loader) warnAt(at place, key, format string, args ...any) {
	l.warnings = append(l.warnings, newRemark(at, key, format, args...))
}

// printable quotes what would spoil a terminal or a log line.
func printable(key string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == '"' || unicode.IsSpace(r) }
	if key == "" || strings.ContainsFunc(key, odd) {
		return strconv.Quote(key)
	}
	return key
}
