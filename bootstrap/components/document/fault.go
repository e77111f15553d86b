// Package document reads the parts of an adapter file that describe components: it replaces environment
// variables, follows aliases, and remembers the line of everything, so that each fault can name its place.
package document

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Fault is something wrong in a file.
type Fault struct {
	File string
	// Line counts from 1; 0 if it is not known.
	Line int
	What string
}

// Error gives file:line: what, the form that editors can jump to.
func (f *Fault) Error() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.What)
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.What)
}

// Without returns the later faults without those in lines where there is an earlier one: they are mostly its
// consequences.
func Without(later, earlier []error) []error {
	return slices.DeleteFunc(slices.Clone(later), func(fault error) bool {
		return slices.ContainsFunc(earlier, func(cause error) bool { return lineOf(cause) == lineOf(fault) })
	})
}

func lineOf(err error) int {
	var fault *Fault
	if errors.As(err, &fault) {
		return fault.Line
	}
	return 0
}

// Allowed says what could have been written in place of name: what looks most like it comes first.
func Allowed(name string, names []string) string {
	if len(names) == 0 {
		return "nothing is allowed here"
	}
	sorted := slices.Clone(names)
	slices.SortFunc(sorted, func(a, b string) int {
		return cmp.Or(cmp.Compare(distance(name, a), distance(name, b)), cmp.Compare(a, b))
	})
	list := "allowed here: " + strings.Join(sorted, ", ")
	if distance(name, sorted[0]) <= max(1, (len(name)+1)/3) {
		return fmt.Sprintf("did you mean %q? %s", sorted[0], list)
	}
	return list
}

// distance is the number of bytes to insert, delete or replace to get from a to b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
