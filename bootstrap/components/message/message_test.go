package message_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/message"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCodecKeepsEverything(t *testing.T) {
	values := map[string]any{
		"text": "a", "empty": "", "bytes": []byte{0, 1, 255}, "odd \xff": "\xfe", "truth": true, "nothing": nil,
		"whole": int64(math.MaxInt64), "negative": int64(-1), "fraction": 1.5, "list": []any{int64(1), "a", nil},
		"map": map[string]any{"a": map[string]any{"b": []any{2.5}}}, "html": "<&>",
	}
	first := service.NewMessage(nil)
	first.SetStructured(map[string]any{"b": 1, "a": []any{"x"}})
	for key, value := range values {
		first.MetaSetMut(key, value)
	}
	failed := service.NewMessage([]byte("\x00\xff"))
	failed.SetError(errors.New("no good"))
	before := []adapter.Batch{
		message.NewBatch(service.MessageBatch{first, failed}),
		message.NewBatch(service.MessageBatch{service.NewMessage([]byte{})}),
		message.NewBatch(nil),
	}
	codec := message.Codec{}
	payload, err := codec.Marshal(before)
	must(t, err)
	again, err := codec.Marshal(before)
	must(t, err)
	if !slices.Equal(payload, again) {
		t.Error("the same batches gave other bytes")
	}
	after, err := codec.Unmarshal(payload)
	must(t, err)
	if len(after) != 3 || after[0].Parts() != 2 || after[1].Parts() != 1 || after[2].Parts() != 0 {
		t.Fatalf("batches: %v", after)
	}
	parts, err := message.From(after[0])
	must(t, err)
	for key, want := range values {
		if got, found := parts[0].MetaGetMut(key); !found || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %#v, want %#v", key, got, want)
		}
	}
	if content, err := parts[0].AsBytes(); err != nil || string(content) != `{"a":["x"],"b":1}` {
		t.Errorf("content %q, %v", content, err)
	}
	if content, err := parts[1].AsBytes(); err != nil || string(content) != "\x00\xff" {
		t.Errorf("content %q, %v", content, err)
	}
	if err := after[0].Err(); err == nil || err.Error() != "no good" || after[1].Err() != nil {
		t.Errorf("failure %v", err)
	}
	third, err := codec.Marshal(after)
	must(t, err)
	if !slices.Equal(payload, third) {
		t.Error("what came back gives other bytes")
	}
}

func TestCodecWritesWhatJSONCannotHoldAsText(t *testing.T) {
	part := service.NewMessage(nil)
	part.MetaSetMut("nan", math.NaN())
	part.MetaSetMut("time", time.Unix(0, 1).UTC())
	payload, err := message.Codec{}.Marshal([]adapter.Batch{message.NewBatch(service.MessageBatch{part})})
	must(t, err)
	after, err := message.Codec{}.Unmarshal(payload)
	must(t, err)
	if got := after[0].Meta("nan"); got != "NaN" {
		t.Errorf("nan is %q", got)
	}
	if got := after[0].Meta("time"); got != "1970-01-01T00:00:00.000000001Z" {
		t.Errorf("time is %q", got)
	}
}

func TestCodecRefuses(t *testing.T) {
	if _, err := (message.Codec{}).Marshal([]adapter.Batch{nil}); err == nil {
		t.Error("a foreign batch was marshalled")
	}
	for name, meta := range map[string]*mirrorv1.PayloadMeta{
		"newer kind": {Key: []byte("a"), Kind: 99},
		"no kind":    {Key: []byte("a")},
		"bad JSON":   {Key: []byte("a"), Kind: mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_JSON, Value: []byte("{")},
		"two JSONs":  {Key: []byte("a"), Kind: mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_JSON, Value: []byte("1 2")},
	} {
		data, err := proto.Marshal(&mirrorv1.Payload{Batches: []*mirrorv1.PayloadBatch{
			{Parts: []*mirrorv1.PayloadPart{{Meta: []*mirrorv1.PayloadMeta{meta}}}},
		}})
		must(t, err)
		if _, err := (message.Codec{}).Unmarshal(data); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestCopyIsIndependentBothWays(t *testing.T) {
	part := service.NewMessage([]byte(`{"a":1}`))
	part.MetaSetMut("k", "original")
	original := message.NewBatch(service.MessageBatch{part})
	copied := original.Copy()
	copied.SetMeta("k", "copy")
	original.SetMeta("l", "original")
	change := func(batch adapter.Batch, value string) {
		parts, err := message.From(batch)
		must(t, err)
		content, err := parts[0].AsStructuredMut()
		must(t, err)
		content.(map[string]any)["a"] = value
		parts[0].SetStructuredMut(content)
	}
	change(original, "o")
	change(copied, "c")
	for batch, want := range map[adapter.Batch][3]string{
		original: {"original", "original", `{"a":"o"}`}, copied: {"copy", "", `{"a":"c"}`},
	} {
		parts, err := message.From(batch)
		must(t, err)
		content, err := parts[0].AsBytes()
		must(t, err)
		if got := [3]string{batch.Meta("k"), batch.Meta("l"), string(content)}; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if message.NewBatch(nil).Meta("k") != "" || message.NewBatch(nil).Err() != nil {
		t.Error("an empty batch has something")
	}
}

func FuzzUnmarshal(f *testing.F) {
	part := service.NewMessage([]byte("content"))
	part.MetaSetMut("a", "b")
	part.MetaSetMut("n", int64(1))
	part.SetError(errors.New("no"))
	payload, err := message.Codec{}.Marshal([]adapter.Batch{message.NewBatch(service.MessageBatch{part})})
	must(f, err)
	f.Add(payload)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		batches, err := message.Codec{}.Unmarshal(data)
		if err != nil {
			return
		}
		first, err := message.Codec{}.Marshal(batches)
		must(t, err)
		batches, err = message.Codec{}.Unmarshal(first)
		must(t, err)
		second, err := message.Codec{}.Marshal(batches)
		must(t, err)
		if !slices.Equal(first, second) {
			t.Errorf("%x became %x", first, second)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	part := service.NewMessage(make([]byte, 1024))
	for _, key := range []string{"fs_name", "fs_path", "fs_dir", "fs_size", "fs_mod_time", "message-id", "term"} {
		part.MetaSetMut(key, "some value of usual length")
	}
	batches := []adapter.Batch{message.NewBatch(service.MessageBatch{part})}
	b.ReportAllocs()
	for b.Loop() {
		payload, err := message.Codec{}.Marshal(batches)
		must(b, err)
		_, err = message.Codec{}.Unmarshal(payload)
		must(b, err)
	}
}
