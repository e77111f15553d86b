package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Write is one line of a node's journal: a file that its fs producer has really written.
type Write struct {
	TimeUnixNano int64  `json:"time_unix_nano"`
	MessageID    string `json:"message_id"`
	File         string `json:"file"`
	Term         string `json:"term"`
	// Node is whose journal it is.
	Node string `json:"-"`
}

// Time is when it was written.
func (w Write) Time() time.Time { return time.Unix(0, w.TimeUnixNano) }

// Journals reads the journals of a cluster's nodes, each line once. It is used by one goroutine at a time.
type Journals struct {
	files []journal
}

type journal struct {
	node, path string
	offset     int64
}

// Journals returns a reader that begins at the beginning.
func (c *Cluster) Journals() *Journals {
	j := &Journals{}
	for _, node := range c.Nodes {
		j.files = append(j.files, journal{node: node.ID, path: filepath.Join(node.Dir, "data", "journal.log")})
	}
	return j
}

// Next returns what has been written since the last call. A line that has no end yet comes with a later call.
func (j *Journals) Next() ([]Write, error) {
	var writes []Write
	for i := range j.files {
		fresh, err := j.files[i].next()
		if err != nil {
			return nil, err
		}
		writes = append(writes, fresh...)
	}
	return writes, nil
}

func (j *journal) next() ([]Write, error) {
	file, err := os.Open(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.NewSectionReader(file, j.offset, 1<<40))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	var writes []Write
	for {
		end := bytes.IndexByte(content, '\n')
		if end < 0 {
			return writes, nil
		}
		write := Write{Node: j.node}
		if err := json.Unmarshal(content[:end], &write); err != nil {
			return nil, fmt.Errorf("journal %s at byte %d: %w", j.path, j.offset, err)
		}
		writes = append(writes, write)
		content = content[end+1:]
		j.offset += int64(end + 1)
	}
}
