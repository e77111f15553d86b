package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/host"
)

func TestTakeoversAreKept(t *testing.T) {
	kept := takeovers{filepath.Join(t.TempDir(), "data", "takeovers")}
	promotion := host.Change{
		What: host.Promotion, Node: "a", Cluster: "c", Term: "7:a", Time: time.UnixMilli(1_700_000_000_123).UTC(), Reason: "the master is silent",
		Promoted: &host.PromotionReport{
			After: "6:b", Heard: []host.HeardReport{{Node: "b", Age: host.Millis(5 * time.Second)}},
			Detection: host.Millis(1234567 * time.Nanosecond), Start: host.Millis(3 * time.Millisecond), InFlight: 3, Replayed: 1, Held: 1, Dropped: 1,
		},
	}
	handover := host.Change{
		What: host.HandedOver, Node: "a", Term: "7:a", Time: promotion.Time.Add(time.Hour), Reason: "asked for",
		Ended: &host.EndReport{Drain: host.Millis(time.Second), To: "b", Successor: "b", SuccessorTerm: "8:b", Takeover: host.Millis(2 * time.Millisecond)},
	}
	for _, c := range []host.Change{promotion, handover} {
		if err := kept.keep(c); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(kept.dir, "7-a-promotion.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"detection_ms": 1.235,`) || !strings.Contains(string(text), `"replayed": 1,`) {
		t.Errorf("report:\n%s", text)
	}
	changes, warnings, err := kept.list()
	promotion.Promoted.Detection = host.Millis(1235 * time.Microsecond) // what is written
	if err != nil || len(warnings) > 0 || !reflect.DeepEqual(changes, []host.Change{promotion, handover}) {
		t.Errorf("%+v, %v, %v", changes, warnings, err)
	}
	var out strings.Builder
	if err := printTakeovers(&out, changes); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"detect 1.2 ms, wait 0.0 ms, claim 0.0 ms, gate 0.0 ms, seal 0.0 ms, start 3.0 ms", "1 replayed, 1 held, 1 dropped",
		"drain 1000.0 ms, b led after 2.0 ms", "the master is silent",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

// The number of reports is bounded, the oldest go, and what is not ours stays.
func TestTakeoversAreBounded(t *testing.T) {
	kept := takeovers{t.TempDir()}
	if err := os.WriteFile(filepath.Join(kept.dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now().Add(-time.Hour)
	for i := range keptTakeovers + 20 {
		c := host.Change{What: host.Promotion, Term: fmt.Sprintf("%d:a", i), Time: start.Add(time.Duration(i) * time.Second)}
		if err := kept.keep(c); err != nil {
			t.Fatal(err)
		}
		// The order is that of the files' times, which may be coarse.
		if err := os.Chtimes(filepath.Join(kept.dir, fmt.Sprintf("%d-a-promotion.json", i)), c.Time, c.Time); err != nil {
			t.Fatal(err)
		}
	}
	changes, _, err := kept.list()
	if err != nil || len(changes) != keptTakeovers || changes[len(changes)-1].Term != fmt.Sprintf("%d:a", keptTakeovers+19) || changes[0].Term != "20:a" {
		t.Errorf("%d reports, %v", len(changes), err)
	}
	names, err := filepath.Glob(filepath.Join(kept.dir, "*"))
	if err != nil || len(names) != keptTakeovers+1 || !slices.Contains(names, filepath.Join(kept.dir, "notes.txt")) {
		t.Errorf("%d files, %v", len(names), err)
	}
}

func TestNodeIDIsDrawnOnce(t *testing.T) {
	dir, err := openDataDir(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	id, err := dir.nodeID("")
	if err != nil || id == "" {
		t.Fatalf("%q, %v", id, err)
	}
	if again, err := dir.nodeID(""); err != nil || again != id {
		t.Errorf("%q, then %q, %v", id, again, err)
	}
	if given, err := dir.nodeID("orders-1"); err != nil || given != "orders-1" {
		t.Errorf("%q, %v", given, err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir.path, "node-id"), []byte("a b"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.nodeID(""); err == nil || !strings.Contains(err.Error(), "is no node id") {
		t.Error(err)
	}
	if err := dir.close(); err != nil {
		t.Error(err)
	}
}
