package folder

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io/fs"
)

// identity is what tells one file from another that had the same name, and does not change when the file is
// renamed.
type identity struct {
	inode uint64
	size  int64
	// modified and born are Unix nanoseconds; born is 0 where the file system does not keep it. Without it, a
	// copy that has kept its time (cp -p) could get the inode of a file that has just been deleted, and be
	// taken for that file.
	modified, born int64
}

// info is what a look at a file brings.
type info struct {
	identity
	mode fs.FileMode
}

// messageID is the id of the message that a file is; path is absolute, and without .wip.
func (i identity) messageID(path string) string {
	hash := sha256.New()
	hash.Write([]byte(path))
	fields := [4]uint64{i.inode, uint64(i.size), uint64(i.modified), uint64(i.born)}
	var tail [1 + 8*len(fields)]byte // begins with a 0, which no path contains
	for n, field := range fields {
		binary.BigEndian.PutUint64(tail[1+8*n:], field)
	}
	hash.Write(tail[:])
	return hex.EncodeToString(hash.Sum(nil)[:16])
}
