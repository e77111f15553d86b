package folder

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// journal has a line for each file that was really written, so that writes can be counted when the files
// themselves have gone. Several producers and processes may append to the same one. A nil journal notes nothing.
type journal struct{ file *os.File }

// journalLine is one line, as JSON.
type journalLine struct {
	TimeUnixNano int64  `json:"time_unix_nano"`
	MessageID    string `json:"message_id"`
	File         string `json:"file"`
	Term         string `json:"term"`
}

func openJournal(path string) (*journal, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return &journal{file: file}, nil
}

// record appends a line, in a single write, so that lines never mix.
func (j *journal) record(w write, path string) error {
	if j == nil {
		return nil
	}
	line, err := json.Marshal(journalLine{
		TimeUnixNano: time.Now().UnixNano(), MessageID: w.messageID, File: path, Term: w.term,
	})
	if err != nil {
		return err
	}
	_, err = j.file.Write(append(line, '\n'))
	return err
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}
