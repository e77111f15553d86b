package failedstore

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/magiconair/properties"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// The files of a message. The second part's have -2 before the extension, and so on.
const (
	recordFile   = "record.json"
	errorFile    = "error.txt"
	payloadFile  = "payload"
	payloadExt   = ".blob"
	metadataFile = "metadata"
	metadataExt  = ".properties"
)

// version is that of record.json.
const version = 1

// record is what record.json has: all but contents and metadata, which people may want to read and mend.
type record struct {
	Version   int    `json:"version"`
	MessageID string `json:"message_id"`
	// IDBytes is the message id if it is no text that JSON can hold.
	IDBytes           []byte    `json:"message_id_bytes,omitempty"`
	Channel           string    `json:"channel"`
	Workflow          string    `json:"workflow"`
	Step              string    `json:"step"`
	ErrorStep         string    `json:"error_step"`
	Error             string    `json:"error"`
	Received          time.Time `json:"received"`
	Failed            time.Time `json:"failed"`
	Attempts          int       `json:"attempts"`
	Term              string    `json:"term"`
	PossibleDuplicate bool      `json:"possible_duplicate"`
	// Batches has the number of parts of each batch.
	Batches []int `json:"batches"`
	// Parts has what of a part the properties file cannot hold.
	Parts []partRecord `json:"parts"`
}

type partRecord struct {
	Failed bool         `json:"failed,omitempty"`
	Error  []byte       `json:"error,omitempty"`
	Meta   []metaRecord `json:"meta,omitempty"`
}

type metaRecord struct {
	Key   []byte `json:"key"`
	Kind  int32  `json:"kind"`
	Value []byte `json:"value"`
}

// file is one file of a message.
type file struct {
	name    string
	content []byte
}

func newRecord(f adapter.Failed) record {
	r := record{
		Version: version, MessageID: f.MessageID, Channel: f.Channel, Workflow: f.Workflow, Step: f.Step, ErrorStep: f.ErrorStep,
		Error: f.Error, Received: f.Received, Failed: f.Failed, Attempts: f.Attempts, Term: f.Term, PossibleDuplicate: f.PossibleDuplicate,
	}
	if !utf8.ValidString(f.MessageID) {
		r.IDBytes = []byte(f.MessageID)
	}
	return r
}

// parseRecord reads record.json.
func parseRecord(data []byte) (record, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return r, err
	}
	switch {
	case r.Version != version:
		return r, fmt.Errorf("version %d is not known here, want %d: upgrade this node", r.Version, version)
	case r.MessageID == "":
		return r, errors.New("message_id is empty")
	}
	if r.IDBytes != nil {
		r.MessageID = string(r.IDBytes)
	}
	parts := 0
	for _, n := range r.Batches {
		if n < 0 || n > len(r.Parts) {
			return r, errors.New("batches and parts do not fit together")
		}
		parts += n
	}
	if parts != len(r.Parts) {
		return r, fmt.Errorf("batches has %d parts, parts has %d", parts, len(r.Parts))
	}
	return r, nil
}

// failed is the record as the engine knows it, without payload.
func (r *record) failed(size int64) adapter.Failed {
	return adapter.Failed{
		MessageID: r.MessageID, Channel: r.Channel, Workflow: r.Workflow, Step: r.Step, ErrorStep: r.ErrorStep, Error: r.Error,
		Received: r.Received, Failed: r.Failed, Attempts: r.Attempts, Term: r.Term, PossibleDuplicate: r.PossibleDuplicate, Bytes: size,
	}
}

// status gives the files that change when the message fails again.
func (r *record) status() ([]file, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	reason := fmt.Sprintf("%s\n\nfailed at step %s of workflow %s, %s, attempt %d\n",
		r.Error, r.ErrorStep, r.Workflow, r.Failed.UTC().Format(time.RFC3339), r.Attempts)
	return []file{{errorFile, []byte(reason)}, {recordFile, append(text, '\n')}}, nil
}

// files takes a message apart.
func files(f adapter.Failed) ([]file, error) {
	var payload mirrorv1.Payload
	if err := proto.Unmarshal(f.Payload, &payload); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	r := newRecord(f)
	var out []file
	for _, batch := range payload.GetBatches() {
		r.Batches = append(r.Batches, len(batch.GetParts()))
		for _, part := range batch.GetParts() {
			suffix := partSuffix(len(r.Parts))
			text, rest, err := metadata(part.GetMeta())
			if err != nil {
				return nil, err
			}
			r.Parts = append(r.Parts, partRecord{Failed: part.GetFailed(), Error: part.GetError(), Meta: rest})
			out = append(out, file{payloadFile + suffix + payloadExt, part.GetContent()},
				file{metadataFile + suffix + metadataExt, text})
		}
	}
	status, err := r.status()
	return append(out, status...), err
}

func partSuffix(i int) string {
	if i == 0 {
		return ""
	}
	return "-" + strconv.Itoa(i+1)
}

// metadata writes what a properties file can hold into one, and returns the rest.
func metadata(meta []*mirrorv1.PayloadMeta) (text []byte, rest []metaRecord, err error) {
	p := properties.NewProperties()
	p.DisableExpansion = true
	for _, m := range meta {
		if m.GetKind() == mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_TEXT && survives(m) {
			if _, _, err := p.Set(string(m.GetKey()), string(m.GetValue())); err != nil {
				return nil, nil, fmt.Errorf("metadata %q: %w", m.GetKey(), err)
			}
			continue
		}
		rest = append(rest, metaRecord{Key: m.GetKey(), Kind: int32(m.GetKind()), Value: m.GetValue()})
	}
	var out bytes.Buffer
	_, err = p.Write(&out, properties.UTF8)
	return out.Bytes(), rest, err
}

// survives says whether a value comes back from a properties file as it went in: keys that look like comments, and
// bytes that are no text, do not.
func survives(m *mirrorv1.PayloadMeta) bool {
	key, value := string(m.GetKey()), string(m.GetValue())
	if key == "" || !utf8.ValidString(key) || !utf8.ValidString(value) {
		return false
	}
	p := properties.NewProperties()
	p.DisableExpansion = true
	if _, _, err := p.Set(key, value); err != nil {
		return false
	}
	var out bytes.Buffer
	if _, err := p.Write(&out, properties.UTF8); err != nil {
		return false
	}
	back, err := parseProperties(out.Bytes())
	return err == nil && len(back) == 1 && back[key] == value
}

func parseProperties(text []byte) (map[string]string, error) {
	p, err := (&properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}).LoadBytes(text)
	if err != nil {
		return nil, err
	}
	return p.Map(), nil
}

// part puts a part together again.
func (p *partRecord) part(content, text []byte) (*mirrorv1.PayloadPart, error) {
	values, err := parseProperties(text)
	if err != nil {
		return nil, err
	}
	part := &mirrorv1.PayloadPart{Content: content, Failed: p.Failed, Error: p.Error}
	for key, value := range values {
		part.Meta = append(part.Meta, &mirrorv1.PayloadMeta{
			Key: []byte(key), Kind: mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_TEXT, Value: []byte(value),
		})
	}
	for _, m := range p.Meta {
		if _, set := values[string(m.Key)]; set {
			continue // somebody has written it into the file
		}
		part.Meta = append(part.Meta, &mirrorv1.PayloadMeta{Key: m.Key, Kind: mirrorv1.PayloadMetaKind(m.Kind), Value: m.Value})
	}
	slices.SortFunc(part.Meta, func(a, b *mirrorv1.PayloadMeta) int { return bytes.Compare(a.GetKey(), b.GetKey()) })
	return part, nil
}

// Part is one part of a message, for people.
type Part struct {
	Content  []byte
	Metadata map[string]string
}

// Parts takes the payload of a message apart.
func Parts(payload []byte) ([]Part, error) {
	var p mirrorv1.Payload
	if err := proto.Unmarshal(payload, &p); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	var parts []Part
	for _, batch := range p.GetBatches() {
		for _, part := range batch.GetParts() {
			out := Part{Content: part.GetContent(), Metadata: map[string]string{}}
			for _, m := range part.GetMeta() {
				out.Metadata[string(m.GetKey())] = string(m.GetValue())
			}
			parts = append(parts, out)
		}
	}
	return parts, nil
}

func byFailed(a, b adapter.Failed) int {
	return cmp.Or(a.Failed.Compare(b.Failed), cmp.Compare(a.MessageID, b.MessageID))
}
