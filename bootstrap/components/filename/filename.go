// Package filename makes file names of message ids.
package filename

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxID is the longest message id, in bytes, that goes into a name as it is.
const maxID = 100

// ForID is a name that every file system takes, of at most 100 bytes. Different ids have different names.
func ForID(id string) string {
	if name := escape(id); len(name) <= maxID && name != "" {
		return name
	}
	return Hash(id)
}

// Hash is a name without any likeness to the id, of 64 bytes.
func Hash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// escape replaces what cannot stand in a file name, on one system or the other. Different ids stay different.
func escape(id string) string {
	var out strings.Builder
	for i, r := range id {
		_, size := utf8.DecodeRuneInString(id[i:])
		switch {
		case r == utf8.RuneError && size == 1, r < ' ', strings.ContainsRune(`%/\:*?"<>|`, r), r == '.' && i == 0:
			fmt.Fprintf(&out, "%%%02X", id[i])
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
