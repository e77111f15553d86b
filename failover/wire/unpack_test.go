package wire_test

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/understudy-ha/understudy/failover/wire"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// TestUnpackKnowsAllFields fills every field that datagram.proto has, with each body in turn. If it fails because a
// field is new: nothing is broken, but datagrams with it are read slowly until unpack knows it.
func TestUnpackKnowsAllFields(t *testing.T) {
	t.Parallel()
	for _, want := range everyDatagram(t) {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, usual := wire.Unpack(data)
		if !usual {
			t.Errorf("unpack does not know a field of About or of %T: teach it, beside the others of its message, and read it as proto.Unmarshal does", want.GetBody())
			continue
		}
		if !proto.Equal(got, want) {
			t.Errorf("%T:\ngot  %v\nwant %v", want.GetBody(), got, want)
		}
	}
}

// everyDatagram gives one datagram for each body, with something in every field of every message.
func everyDatagram(t testing.TB) []*failoverv1.Datagram {
	t.Helper()
	var all []*failoverv1.Datagram
	bodies := (&failoverv1.Datagram{}).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range bodies.Len() {
		d := &failoverv1.Datagram{}
		counter := uint64(200) // Beyond one byte of a varint, and different in each field.
		fill(d.ProtoReflect(), bodies.Get(i).Number(), &counter)
		all = append(all, d)
	}
	if len(all) < 6 {
		t.Fatalf("only %d bodies were found", len(all))
	}
	return all
}

// fill sets all fields of a message; of the fields of a oneof only the one with the number that is chosen.
func fill(m protoreflect.Message, chosen protoreflect.FieldNumber, counter *uint64) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.ContainingOneof() != nil && f.Number() != chosen:
		case f.IsList():
			list := m.Mutable(f).List()
			for range 3 {
				if f.Message() != nil {
					fill(list.AppendMutable().Message(), chosen, counter)
				} else {
					list.Append(scalar(f, counter))
				}
			}
		case f.Message() != nil:
			fill(m.Mutable(f).Message(), chosen, counter)
		default:
			m.Set(f, scalar(f, counter))
		}
	}
}

// scalar is never the zero value, which would not be written.
func scalar(f protoreflect.FieldDescriptor, counter *uint64) protoreflect.Value {
	*counter++
	n := *counter
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(-int32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(-int64(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(n << 40)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(protowire.AppendVarint(nil, n))
	default:
		return protoreflect.ValueOfString("ü" + string(rune('a'+n%26)))
	}
}

// FuzzUnpack: what unpack reads is what proto.Unmarshal reads, and what that refuses it does not read.
func FuzzUnpack(f *testing.F) {
	for _, d := range append(everyDatagram(f), heartbeat(), busyHeartbeat()) {
		data, err := proto.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(append(data, data...))
	}
	for _, data := range unusual() {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want := new(failoverv1.Datagram)
		err := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, want)
		got, usual := wire.Unpack(data)
		switch {
		case !usual:
		case err != nil:
			t.Errorf("%x was read, but %v", data, err)
		case !proto.Equal(got, want):
			t.Errorf("%x:\ngot  %v\nwant %v", data, got, want)
		}
	})
}

// unusual is what the grammar of protobuf allows, or nearly, and no node of ours writes.
func unusual() map[string][]byte {
	tag := func(number protowire.Number, kind protowire.Type) []byte {
		return protowire.AppendTag(nil, number, kind)
	}
	nested := func(number protowire.Number, inner []byte) []byte {
		return protowire.AppendBytes(tag(number, protowire.BytesType), inner)
	}
	number := func(field protowire.Number, value uint64) []byte {
		return protowire.AppendVarint(tag(field, protowire.VarintType), value)
	}
	heart := nested(16, number(2, 1))
	return map[string][]byte{
		"a field that nobody knows":           nested(1000, []byte("x")),
		"a field of another type":             number(1, 5),
		"a group":                             append(tag(30, protowire.StartGroupType), tag(30, protowire.EndGroupType)...),
		"the end of a group only":             tag(30, protowire.EndGroupType),
		"about twice":                         append(nested(5, number(9, 1)), nested(5, number(12, 3))...),
		"the same body twice":                 append(append([]byte{}, heart...), heart...),
		"a body in two pieces":                slices.Concat(heart, nested(16, nested(3, []byte("n")))),
		"two bodies":                          append(nested(17, number(1, 1)), heart...),
		"ages that are not packed":            nested(5, append(number(11, 7), number(11, 300)...)),
		"no string in UTF-8":                  nested(2, []byte{0xff, 0xfe}),
		"a length beyond the end":             {0x0a, 0x7f, 'x'},
		"a length beyond the message":         nested(5, []byte{0x52, 0x10, 'x'}),
		"a varint without end":                {0x18, 0xff, 0xff},
		"a varint of eleven bytes":            {0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"the number 0":                        {0x00, 0x00},
		"a tag with a byte too many":          {0x8a, 0x00, 1, 'x'},
		"a fixed number that is cut":          nested(16, nested(4, []byte{0x11, 1, 2})),
		"an int32 beyond 32 bits":             nested(5, number(9, 1<<40|5)),
		"a priority beyond 32 bits":           nested(5, nested(2, number(3, 1<<40|5))),
		"a bool that is neither":              nested(5, number(3, 1<<40)),
		"an age beyond 32 bits":               nested(5, nested(11, protowire.AppendVarint(nil, 1<<40|7))),
		"the same field twice":                append(number(3, 1), number(3, 2)...),
		"packed ages in two pieces":           nested(5, append(nested(11, []byte{1, 2}), nested(11, []byte{3})...)),
		"no ages, packed":                     nested(5, nested(11, nil)),
		"a mirror twice within a standing":    nested(5, nested(2, append(nested(2, number(2, 1)), nested(2, number(2, 2))...))),
		"nothing":                             nil,
		"a term of the wrong type in a claim": nested(18, number(1, 3)),
	}
}

// TestUnusualForms: Decode says of each form what proto.Unmarshal says of it.
func TestUnusualForms(t *testing.T) {
	t.Parallel()
	for name, tail := range unusual() {
		d := heartbeat()
		d.Body, d.About, d.BootId = nil, nil, 0
		start, err := proto.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		content := slices.Concat(start, tail)
		want := new(failoverv1.Datagram)
		refusal := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(content, want)
		if got, usual := wire.Unpack(content); usual && (refusal != nil || !proto.Equal(got, want)) {
			t.Errorf("%s: got %v, want %v, %v", name, got, want, refusal)
		}
		// With a body and a boot in front it is a datagram that could be taken.
		d.BootId, d.Body = 7, &failoverv1.Datagram_Presence{Presence: &failoverv1.Presence{}}
		if start, err = proto.Marshal(d); err != nil {
			t.Fatal(err)
		}
		content = slices.Concat(start, tail)
		want.Reset()
		refusal = proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(content, want)
		got, err := wire.Decode(append([]byte{'U', 'S', 'T', 'Y', wire.Version, wire.LeastVersion}, content...), "orders")
		if refusal != nil && wire.CauseOf(err) != wire.Malformed {
			t.Errorf("%s: got %v, want a refusal: %v", name, err, refusal)
		}
		if err == nil && !proto.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// BenchmarkUnpack is why unpack is there.
func BenchmarkUnpack(b *testing.B) {
	data, err := proto.Marshal(busyHeartbeat())
	if err != nil {
		b.Fatal(err)
	}
	for name, read := range map[string]func() error{
		"unpack": func() error {
			if _, usual := wire.Unpack(data); !usual {
				return errors.New("not usual")
			}
			return nil
		},
		"proto.Unmarshal": func() error {
			return proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, new(failoverv1.Datagram))
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			start := cpuTime(b)
			for b.Loop() {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
			reportCPU(b, start)
		})
	}
}
