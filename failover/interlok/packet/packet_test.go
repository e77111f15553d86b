package packet_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/failover/interlok/packet"
)

var javaID = packet.ID{0x0f, 0x8f, 0xad, 0x5b, 0xd9, 0xcb, 0x46, 0x9f, 0xa1, 0x65, 0x70, 0x86, 0x72, 0x89, 0x50, 0xff}

// golden are packets byte by byte, as PacketHelper.createDataPacket lays them out.
var golden = []struct {
	name string
	ping packet.Ping
	hex  string
}{
	{
		"primary over multicast",
		packet.Ping{Host: "192.0.2.17", Port: 0, ID: javaID, Type: packet.Primary, Position: 0},
		"3139322e302e322e3137" + strings.Repeat("00", 30) + "300000000000" +
			"0f8fad5bd9cb469fa1657086728950ff" + "00000001" + "00000000",
	},
	{
		"secondary over TCP",
		packet.Ping{Host: "node-b.example", Port: 65535, ID: javaID, Type: packet.Secondary, Position: 258},
		"6e6f64652d622e6578616d706c65" + strings.Repeat("00", 26) + "363535333500" +
			"0f8fad5bd9cb469fa1657086728950ff" + "00000002" + "00000102",
	},
	{
		"the longest host and the last position",
		packet.Ping{Host: strings.Repeat("h", 40), Port: 7, ID: javaID, Type: packet.Secondary, Position: math.MaxInt32},
		strings.Repeat("68", 40) + "370000000000" + "0f8fad5bd9cb469fa1657086728950ff" + "00000002" + "7fffffff",
	},
}

func TestGolden(t *testing.T) {
	for _, test := range golden {
		t.Run(test.name, func(t *testing.T) {
			want, err := hex.DecodeString(test.hex)
			if err != nil || len(want) != packet.Size {
				t.Fatalf("%d bytes, %v", len(want), err)
			}
			data, err := packet.Encode(test.ping)
			if err != nil || !bytes.Equal(data, want) {
				t.Errorf("encoded %x, %v\n   want %x", data, err, want)
			}
			if ping, err := packet.Decode(want); err != nil || ping != test.ping {
				t.Errorf("decoded %v, %v", ping, err)
			}
		})
	}
}

// TestPadding: Java trims both ends of host and port, of everything up to the blank.
func TestPadding(t *testing.T) {
	data, err := packet.Encode(packet.Ping{Host: "\u00e9.example", Port: 4711, ID: javaID, Type: packet.Secondary})
	if err != nil {
		t.Fatal(err)
	}
	want, err := packet.Decode(data)
	if err != nil || want.Host != "é.example" {
		t.Fatal(want, err)
	}
	copy(data[10:40], bytes.Repeat([]byte(" \x1f"), 15))
	copy(data[40:46], " 4711\t")
	if got, err := packet.Decode(data); err != nil || got != want {
		t.Errorf("decoded %v, %v, want %v", got, err, want)
	}
	copy(data[40:46], "\x00\x00\x00\x00\x00\x00")
	if got, err := packet.Decode(data); err != nil || got.Port != 0 {
		t.Errorf("an empty port: %v, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	good, err := packet.Encode(golden[1].ping)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int, to ...byte) []byte {
		data := slices.Clone(good)
		copy(data[at:], to)
		return data
	}
	for _, test := range []struct {
		name  string
		data  []byte
		cause packet.Cause
		says  string
	}{
		{"a release before 3.8", good[46:], packet.Old, "upgrade that instance to 3.8"},
		{"nothing", nil, packet.WrongSize, "0 bytes"},
		{"too short", good[:69], packet.WrongSize, "69 bytes"},
		{"too long", append(slices.Clone(good), 0), packet.WrongSize, "71 bytes"},
		{"no type", changed(62, 0, 0, 0, 0), packet.Malformed, "type 0"},
		{"type 3", changed(62, 0, 0, 0, 3), packet.Malformed, "type 3"},
		{"negative position", changed(66, 0xff, 0xff, 0xff, 0xff), packet.Malformed, "-1"},
		{"port of letters", changed(40, 'p', 'o', 'r', 't'), packet.Malformed, "port"},
		{"signed port", changed(40, '-', '1'), packet.Malformed, "port"},
		{"port too great", changed(40, '6', '5', '5', '3', '6'), packet.Malformed, "65536"},
		{"control character in the host", changed(2, '\n'), packet.Malformed, "host"},
		{"NUL in the host", changed(2, 0), packet.Malformed, "host"},
		{"host is not UTF-8", changed(2, 0xff), packet.Malformed, "host"},
		{"no id", changed(46, make([]byte, 16)...), packet.Malformed, "id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := packet.Decode(test.data)
			if err == nil || packet.CauseOf(err) != test.cause || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %s and %q", err, test.cause, test.says)
			}
		})
	}
	for _, ping := range []packet.Ping{
		{Host: strings.Repeat("h", 41), ID: javaID, Type: packet.Primary},
		{ID: javaID, Type: packet.Primary, Port: -1},
		{ID: javaID, Type: packet.Primary, Port: 65536},
		{ID: javaID, Type: packet.Secondary, Position: -1},
		{ID: javaID, Type: packet.Secondary, Position: math.MaxInt32 + 1},
		{ID: javaID},
		{Type: packet.Primary},
	} {
		if data, err := packet.Encode(ping); err == nil {
			t.Errorf("%v was encoded as %x", ping, data)
		}
	}
}

func TestID(t *testing.T) {
	if text := javaID.String(); text != "0f8fad5b-d9cb-469f-a165-7086728950ff" || javaID.Ours() {
		t.Errorf("%s, ours: %v", text, javaID.Ours())
	}
	ours := packet.NewID([16]byte(bytes.Repeat([]byte{0xff}, 16)))
	if text := ours.String(); text != "ffffffff-ffff-8fff-bfff-ffffffffffff" || !ours.Ours() {
		t.Errorf("%s, ours: %v", text, ours.Ours())
	}
	if again := packet.NewID([16]byte{}); again.String() != "00000000-0000-8000-8000-000000000000" || !again.Ours() {
		t.Errorf("%v, ours: %v", again, again.Ours())
	}
	// As Java sorts the texts.
	ids := []packet.ID{ours, {0x9f}, javaID, {0xa0}}
	slices.SortFunc(ids, packet.ID.Compare)
	texts := make([]string, 0, len(ids))
	for _, id := range ids {
		texts = append(texts, id.String())
	}
	if !slices.IsSorted(texts) {
		t.Errorf("sorted as %v", texts)
	}
}

func FuzzDecode(f *testing.F) {
	for _, test := range golden {
		data, err := packet.Encode(test.ping)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[46:])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ping, err := packet.Decode(data)
		if err != nil {
			if packet.CauseOf(err) == "" {
				t.Errorf("no cause: %v", err)
			}
			return
		}
		again, err := packet.Encode(ping)
		if err != nil {
			t.Fatalf("%v was read but cannot be written: %v", ping, err)
		}
		if ping2, err := packet.Decode(again); err != nil || ping2 != ping {
			t.Errorf("%v became %v, %v", ping, ping2, err)
		}
		if !bytes.Equal(again[46:], data[46:]) {
			t.Errorf("%x became %x", data, again)
		}
	})
}
