package peer

import (
	"errors"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// The ledger's kinds and states are cast to those of the protocol.
func TestNumbersAreThoseOfTheProtocol(t *testing.T) {
	kinds := map[ledger.Kind]mirrorv1.OpKind{
		ledger.Received:  mirrorv1.OpKind_OP_KIND_RECEIVED,
		ledger.Stepped:   mirrorv1.OpKind_OP_KIND_STEPPED,
		ledger.Producing: mirrorv1.OpKind_OP_KIND_PRODUCING,
		ledger.Done:      mirrorv1.OpKind_OP_KIND_DONE,
		ledger.Released:  mirrorv1.OpKind_OP_KIND_RELEASED,
		ledger.Held:      mirrorv1.OpKind_OP_KIND_HELD,
		ledger.TermBegun: mirrorv1.OpKind_OP_KIND_TERM,
	}
	states := map[ledger.State]mirrorv1.EntryState{
		ledger.StateReceived:  mirrorv1.EntryState_ENTRY_STATE_RECEIVED,
		ledger.StateProducing: mirrorv1.EntryState_ENTRY_STATE_PRODUCING,
		ledger.StateHeld:      mirrorv1.EntryState_ENTRY_STATE_HELD,
	}
	// The protocol has one more of each: unspecified.
	if len(kinds) != len(mirrorv1.OpKind_name)-1 || len(states) != len(mirrorv1.EntryState_name)-1 {
		t.Error("the protocol has kinds or states that the ledger does not know")
	}
	for kind, number := range kinds {
		if int32(kind) != int32(number) {
			t.Errorf("%v is %d in the ledger and %d in the protocol", kind, kind, number)
		}
	}
	for state, number := range states {
		if int32(state) != int32(number) {
			t.Errorf("%v is %d in the ledger", number, state)
		}
	}
	if small[ledger.Kind](mirrorv1.OpKind(257)) != 0 || small[ledger.Kind](mirrorv1.OpKind(-1)) != 0 {
		t.Error("a number that is no kind must not become one")
	}
}

// travel sends a message through its wire form.
func travel[M proto.Message](t *testing.T, from, to M) M {
	t.Helper()
	data, err := proto.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(data, to); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestBatchesSurviveTheWire(t *testing.T) {
	term := ledger.Term{Number: 7, Node: "a"}
	at := func(index uint64) ledger.Position { return ledger.Position{Term: term, Index: index} }
	large := cachesync.Batch{
		Entries: []ledger.LogEntry{
			{Position: at(3), Op: ledger.Op{Kind: ledger.Received, MessageID: "m", WorkflowID: "w", Payload: []byte("p"), UnixMilli: 9}},
			{Position: at(4), Op: ledger.Op{Kind: ledger.Stepped, MessageID: "m", Step: "s", Payload: []byte{}, UnixMilli: -1}},
			{Position: at(5), Op: ledger.Op{Kind: ledger.Held, MessageID: "m", Reason: "why"}},
		},
		Member: true, Committed: at(2),
		Record: &cachesync.Record{Term: term, Version: 3, Members: []string{"a", "b"}, AloneAfter: time.Second},
	}
	for _, compact := range []bool{true, false} { // to an older build it is not
		encoder := batchEncoder{compact: compact} // one for all, as in a stream
		for _, want := range []cachesync.Batch{large, {}, {Member: true}, {Entries: large.Entries[1:2]}, large} {
			got := batchFromProto(travel(t, encoder.encode(&want), &mirrorv1.ReplicateRequest{}).GetBatch(), term)
			encoder.release()
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("compact %v:\ngot  %+v\nwant %+v", compact, *got, want)
			}
		}
	}
}

func TestChunksSurviveTheWire(t *testing.T) {
	at := ledger.Position{Term: ledger.Term{Number: 7, Node: "a"}, Index: 9}
	for _, want := range []ledger.Chunk{
		{First: true},
		{Last: true, Position: at, Seals: ledger.Seals{
			Ends: []ledger.Position{{Term: ledger.Term{Number: 5, Node: "b"}, Index: 4}}, From: ledger.Term{Number: 4, Node: "a"},
		}},
		{
			Entries: []ledger.Entry{{
				MessageID: "m", WorkflowID: "w", State: ledger.StateProducing, Step: "s", Payload: []byte("p"),
				ReceivedMilli: 1, ChangedMilli: 2, Position: at, Arrival: ledger.Position{Term: at.Term, Index: 2}, Reason: "r", PossibleDuplicate: true,
			}},
			Finished: []ledger.Finished{{MessageID: "d", UnixMilli: 3}},
		},
	} {
		got := chunkFromProto(travel(t, chunkToProto(&want), &mirrorv1.SnapshotChunk{}))
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("got  %+v\nwant %+v", *got, want)
		}
	}
}

// A table of a build that knows no seals has forgotten all earlier terms.
func TestSealsOfAnOlderBuild(t *testing.T) {
	at := ledger.Position{Term: ledger.Term{Number: 7, Node: "a"}, Index: 9}
	message := chunkToProto(&ledger.Chunk{Last: true, Position: at})
	message.Seals = nil
	if got := chunkFromProto(message).Seals; got.From != at.Term || len(got.Ends) != 0 {
		t.Errorf("seals %+v", got)
	}
}

func announcement(change func(*mirrorv1.Announcement)) []byte {
	a := &mirrorv1.Announcement{Magic: magic, Version: version, MinVersion: minVersion, Cluster: "c", NodeId: "n", BootId: "b", Address: "127.0.0.1:1"}
	change(a)
	data, _ := proto.Marshal(a)
	return data
}

func TestAnnouncementsOfStrangers(t *testing.T) {
	if _, err := decodeAnnouncement(announcement(func(*mirrorv1.Announcement) {}), "c"); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for want, change := range map[dropCause]func(*mirrorv1.Announcement){
		dropForeign:                func(a *mirrorv1.Announcement) { a.Magic = 1 },
		dropVersion:                func(a *mirrorv1.Announcement) { a.MinVersion = version + 1 },
		dropCluster:                func(a *mirrorv1.Announcement) { a.Cluster = "d" },
		dropBroken:                 func(a *mirrorv1.Announcement) { a.NodeId = "" },
		dropBroken + "/boot":       func(a *mirrorv1.Announcement) { a.BootId = "" },
		dropBroken + "/no port":    func(a *mirrorv1.Announcement) { a.Address = "host" },
		dropBroken + "/port":       func(a *mirrorv1.Announcement) { a.Address = "host:0" },
		dropBroken + "/named port": func(a *mirrorv1.Announcement) { a.Address = "host:http" },
		dropBroken + "/no host":    func(a *mirrorv1.Announcement) { a.Address = ":1" },
	} {
		_, err := decodeAnnouncement(announcement(change), "c")
		var drop *dropError
		if !errors.As(err, &drop) || len(want) < len(drop.cause) || want[:len(drop.cause)] != drop.cause {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestCrowdsAndTwins(t *testing.T) {
	d := newDirectory(plainDial)
	defer d.close()
	now := time.Now()
	hear := func(id, boot string) error {
		return d.heard(t.Context(), &mirrorv1.Announcement{NodeId: id, BootId: boot, Address: "127.0.0.1:1"}, time.Time{}, now, time.Minute)
	}
	for i := range maxPeers {
		if err := hear(string(rune('A'+i)), "b"); err != nil {
			t.Fatal(err)
		}
	}
	if err := hear("one too many", "b"); err == nil {
		t.Error("strangers can fill the memory")
	}
	// A new process replaces one whose connection does not stand.
	if err := hear("A", "c"); err != nil || d.remotes["A"].boot != "c" {
		t.Errorf("a restarted peer: %v", err)
	}
	// A late goodbye of the old process means nothing.
	if err := d.heard(t.Context(), &mirrorv1.Announcement{NodeId: "A", BootId: "b", Address: "127.0.0.1:1", Leaving: true}, time.Time{}, now, time.Minute); err != nil || d.remotes["A"] == nil {
		t.Errorf("a late goodbye: %v", err)
	}
	d.forget(now.Add(time.Hour), time.Minute)
	if known := d.known(); len(known) != 0 {
		t.Errorf("%d are not forgotten", len(known))
	}
}

func FuzzAnnouncement(f *testing.F) {
	f.Add(announcement(func(*mirrorv1.Announcement) {}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := decodeAnnouncement(data, "c")
		if err == nil && (a.NodeId == "" || a.BootId == "" || a.Cluster != "c" || checkAddress(a.Address) != nil) {
			t.Errorf("accepted %+v", a)
		}
	})
}

// FuzzReplicateRequest does with any bytes what the server does with a stream's messages.
func FuzzReplicateRequest(f *testing.F) {
	var encoder batchEncoder
	at := ledger.Position{Term: ledger.Term{Number: 1, Node: "a"}, Index: 1}
	for _, request := range []*mirrorv1.ReplicateRequest{
		encoder.encode(&cachesync.Batch{Entries: []ledger.LogEntry{{Position: at, Op: ledger.Op{Kind: ledger.TermBegun}}}}),
		{Body: &mirrorv1.ReplicateRequest_Snapshot{Snapshot: chunkToProto(&ledger.Chunk{
			First: true, Last: true, Position: at,
			Entries: []ledger.Entry{{MessageID: "m", State: ledger.StateHeld, Position: at}}, Finished: []ledger.Finished{{MessageID: "d"}},
		})}},
	} {
		data, err := proto.Marshal(request)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	limits := ledger.Limits{DedupeCount: 10, DedupeTime: time.Minute}
	f.Fuzz(func(_ *testing.T, data []byte) {
		request := &mirrorv1.ReplicateRequest{}
		if proto.Unmarshal(data, request) != nil {
			return
		}
		switch body := request.GetBody().(type) {
		case *mirrorv1.ReplicateRequest_Batch:
			batch, table := batchFromProto(body.Batch, at.Term), ledger.New(limits)
			for i := range batch.Entries {
				if table.Apply(&batch.Entries[i]) != nil {
					return
				}
			}
		case *mirrorv1.ReplicateRequest_Snapshot:
			if table, err := ledger.NewRestorer(limits).Add(chunkFromProto(body.Snapshot)); err == nil && table != nil {
				table.Entries()
			}
		}
	})
}

func plainDial(address string, refused *atomic.Bool) (*grpc.ClientConn, error) {
	return dial(address, insecure.NewCredentials(), refused)
}
