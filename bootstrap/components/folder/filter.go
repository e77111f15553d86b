package folder

import (
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/understudy-ha/understudy/bootstrap/components/document"
)

// Filter says which files are taken: those that one of Include matches, if there is any, and none of Exclude.
type Filter struct {
	Include, Exclude []Pattern
}

// Pattern is a pattern for file names, or, if there is a / in it, for paths below the folder.
type Pattern struct {
	glob   string
	regexp *regexp.Regexp
	path   bool
}

// regexpPrefix is before a pattern that is a regular expression.
const regexpPrefix = "regexp:"

// ParsePattern reads a pattern: *, ?, [a-z], {a,b}, and ** for any number of folders; or regexp: and a regular
// expression of Go, which has to match somewhere.
func ParsePattern(text string) (Pattern, bool) {
	if expression, found := strings.CutPrefix(text, regexpPrefix); found {
		compiled, err := regexp.Compile(expression)
		return Pattern{regexp: compiled, path: strings.Contains(expression, "/")}, err == nil
	}
	return Pattern{glob: text, path: strings.Contains(text, "/")}, text != "" && doublestar.ValidatePattern(text)
}

func readPatterns(fields *document.Fields, key string) []Pattern {
	var patterns []Pattern
	for _, text := range fields.Texts(key) {
		pattern, ok := ParsePattern(text)
		if !ok {
			fields.Fault(key, "%q: want a pattern for file names, say *.json, or a regular expression, say regexp:^a[0-9]+$", text)
		}
		patterns = append(patterns, pattern)
	}
	return patterns
}

func (f Filter) byPath() bool {
	return slices.ContainsFunc(slices.Concat(f.Include, f.Exclude), func(p Pattern) bool { return p.path })
}

// matches takes a path below the folder, without .wip.
func (f Filter) matches(name string) bool {
	name = filepath.ToSlash(name)
	return (len(f.Include) == 0 || anyMatches(f.Include, name)) && !anyMatches(f.Exclude, name)
}

func anyMatches(patterns []Pattern, name string) bool {
	return slices.ContainsFunc(patterns, func(p Pattern) bool { return p.matches(name) })
}

func (p Pattern) matches(name string) bool {
	if !p.path {
		name = path.Base(name)
	}
	if p.regexp != nil {
		return p.regexp.MatchString(name)
	}
	matched, err := doublestar.Match(p.glob, name)
	return err == nil && matched
}
