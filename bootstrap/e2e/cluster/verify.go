package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Result is what became of the files that were fed.
type Result struct {
	// Messages is how many there were. Lost are those without a right output, Duplicated is how many real writes
	// there were beyond one for each.
	Messages, Lost, Duplicated int
	// Terms are the masterships that wrote, in order of their first write.
	Terms []string
	// Faults is everything that was not as it should be, one sentence each, counted above or not.
	Faults []string
}

// Takeovers is how often the work went over to another mastership.
func (r Result) Takeovers() int { return max(0, len(r.Terms)-1) }

// output is what the adapter file of this package makes of a file.
type output struct {
	Name    string `json:"name"`
	SHA256  string `json:"sha256"`
	Content []byte `json:"content"`
}

// Verify compares what came out with what went in: want has the SHA-256, in hex, of each file by its name. Files
// and journals are read anew. It is meant for a cluster that has come to rest.
func (c *Cluster) Verify(want map[string]string) (Result, error) {
	result := Result{Messages: len(want)}
	fault := func(format string, args ...any) {
		result.Faults = append(result.Faults, fmt.Sprintf(format, args...))
	}

	outputs := map[string][]string{} // source name -> output files
	source := map[string]string{}    // output file -> source name
	err := eachFile(c.Out, func(name string) error {
		content, err := os.ReadFile(filepath.Join(c.Out, name))
		if err != nil {
			return err
		}
		var out output
		if err := json.Unmarshal(content, &out); err != nil {
			fault("output %s is not what the adapter makes: %v", name, err)
			return nil
		}
		source[name] = out.Name
		sum := sha256.Sum256(out.Content)
		switch digest, known := want[out.Name]; {
		case !known:
			fault("output %s comes from %q, which was never fed", name, out.Name)
		case out.SHA256 != digest || hex.EncodeToString(sum[:]) != digest:
			fault("output %s: digest of %s is wrong", name, out.Name)
		default:
			outputs[out.Name] = append(outputs[out.Name], name)
		}
		return nil
	})
	if err != nil {
		return result, fmt.Errorf("verify: %w", err)
	}

	writes, err := c.Journals().Next()
	if err != nil {
		return result, fmt.Errorf("verify: %w", err)
	}
	slices.SortStableFunc(writes, func(a, b Write) int { return int(a.TimeUnixNano - b.TimeUnixNano) })
	counts := map[string]int{}   // source name, or message id when the file is not there -> writes
	names := map[string]string{} // message id -> source name
	for _, write := range writes {
		if !slices.Contains(result.Terms, write.Term) {
			result.Terms = append(result.Terms, write.Term)
		}
		key, found := source[filepath.Base(write.File)]
		if !found {
			key = "message " + write.MessageID
			fault("%s has written %s, which is not there", write.Node, write.File)
		}
		counts[key]++
		if other, seen := names[write.MessageID]; seen && other != key {
			fault("message id %s stands for %s and %s", write.MessageID, other, key)
		}
		names[write.MessageID] = key
	}

	for name := range want {
		files := outputs[name]
		if len(files) == 0 {
			result.Lost++
			fault("%s is lost", name)
		}
		// A crash between the write and its line in the journal leaves a file without a line.
		counts[name] = max(counts[name], len(files))
	}
	for key, count := range counts {
		if count > 1 {
			result.Duplicated += count - 1
			fault("%s was written %d times", key, count)
		}
	}
	err = eachFile(c.In, func(name string) error {
		fault("%s is still in the in folder", name)
		return nil
	})
	if err != nil {
		return result, fmt.Errorf("verify: %w", err)
	}
	slices.Sort(result.Faults)
	return result, nil
}

// Waiting is the number of files in the in folder, those that are being worked on included.
func (c *Cluster) Waiting() (int, error) {
	n := 0
	err := eachFile(c.In, func(string) error { n++; return nil })
	return n, err
}

// eachFile calls visit with the name of every file in dir. What lies in folders below it is nobody's output: the
// fs producer prepares its files there.
func eachFile(dir string, visit func(name string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		if err := visit(entry.Name()); err != nil {
			return err
		}
	}
	return nil
}
