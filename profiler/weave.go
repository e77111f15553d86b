package profiler

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Weave says which joinpoints exist: the aspects of the weave file, and how far they have been narrowed. The
// zero value weaves nothing. It does not change once made and may be used from any goroutine.
type Weave struct {
	kinds    []Kind
	included []string
	excluded []string
}

// DefaultWeave has every joinpoint. It stands for a weave file that is not there.
func DefaultWeave() Weave { return Weave{kinds: allKinds()} }

func allKinds() []Kind {
	return []Kind{KindAdapter, KindChannel, KindWorkflow, KindConsumer, KindService, KindProducer}
}

// Has reports whether a component has joinpoints: its kind has an aspect, and its id or its type is included
// and not excluded. The adapter itself cannot be narrowed away by a pattern: its start is the gate of a
// cluster.
func (w Weave) Has(kind Kind, id, typ string) bool {
	if !w.HasKind(kind) {
		return false
	}
	if kind == KindAdapter {
		return true
	}
	matches := func(pattern string) bool {
		return matchesName(pattern, id) || matchesName(pattern, typ)
	}
	if slices.ContainsFunc(w.excluded, matches) {
		return false
	}
	return len(w.included) == 0 || slices.ContainsFunc(w.included, matches)
}

// HasKind reports whether a kind of component has an aspect at all.
func (w Weave) HasKind(kind Kind) bool { return slices.Contains(w.kinds, kind) }

// aspectName is the name of a kind's aspect, as Interlok's weave files have it behind the package.
func aspectName(kind Kind) string {
	s := kind.String()
	return strings.ToUpper(s[:1]) + s[1:] + "Aspect"
}

// aspectKind finds a kind by the short name (service), by the aspect's name (ServiceAspect), or by that of its
// class in any package: the packages have changed over the years.
func aspectKind(name string) (Kind, bool) {
	class := name[strings.LastIndexByte(name, '.')+1:]
	for _, kind := range allKinds() {
		if name == kind.String() || class == aspectName(kind) {
			return kind, true
		}
	}
	return 0, false
}

// aspectNames lists the known names.
func aspectNames() string {
	var names []string
	for _, kind := range allKinds() {
		names = append(names, aspectName(kind))
	}
	return strings.Join(names, ", ")
}

// matchesName reports whether a pattern with * fits a whole name.
func matchesName(pattern, name string) bool {
	// In an id a slash is nothing special, which it is for path.Match.
	name = strings.ReplaceAll(name, "/", "\x00")
	pattern = strings.ReplaceAll(pattern, "/", "\x00")
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// checkPattern refuses what is not a pattern for names.
func checkPattern(pattern string) error {
	if strings.TrimSpace(pattern) == "" {
		return errors.New("the pattern is empty; want an id or a type, with * for any text")
	}
	if strings.ContainsAny(pattern, `[]\?`) {
		return fmt.Errorf("the pattern %q has one of [ ] \\ ?; want an id or a type, with * for any text", pattern)
	}
	return nil
}

// isJavaPattern recognises patterns for Java packages. There are no such packages here, so that including them
// narrows nothing and excluding them leaves nothing out.
func isJavaPattern(pattern string) bool {
	if strings.Contains(pattern, "..") {
		return true
	}
	return slices.ContainsFunc([]string{"com.", "org.", "net.", "java.", "javax."}, func(prefix string) bool {
		return strings.HasPrefix(pattern, prefix)
	})
}
