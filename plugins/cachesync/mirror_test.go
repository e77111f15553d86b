package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/plugins/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback finds the loopback interface and a port for the group that nobody uses, or skips.
func loopback(t *testing.T) map[string]string {
	t.Helper()
	devices, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, device := range devices {
		if device.Flags&net.FlagLoopback == 0 || device.Flags&net.FlagUp == 0 {
			continue
		}
		conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := conn.LocalAddr().(*net.UDPAddr).Port
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		properties := map[string]string{"cachesync.interface": device.Name, "cachesync.port": strconv.Itoa(port), "cachesync.ttl": "0"}
		config, err := ConfigFromProperties(contract.MirrorConfig{Properties: properties})
		if err != nil {
			t.Fatal(err)
		}
		group, err := openMulticast(config)
		if err != nil {
			t.Skipf("no multicast on %s: %v", device.Name, err)
		}
		defer group.Close()
		if err := group.Send([]byte("echo")); err != nil {
			t.Skipf("no multicast on %s: %v", device.Name, err)
		}
		select {
		case <-group.Packets():
			return properties
		case <-time.After(5 * time.Second):
			t.Skipf("multicast on %s is not heard", device.Name)
		}
	}
	t.Skip("there is no loopback interface")
	return nil
}

func configured(t *testing.T, id string, properties map[string]string) *mirror {
	t.Helper()
	m := newMirror(slog.New(slog.DiscardHandler))
	info, err := m.Configure(t.Context(), contract.MirrorConfig{NodeID: id, Cluster: "test", Properties: properties})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := m.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	if info.Name != "cachesync" || !strings.HasPrefix(info.Address, "127.0.0.1:") {
		t.Errorf("info %+v", info)
	}
	return m
}

// await blocks until the mirror's state is as wanted.
func await(t *testing.T, m *mirror, want func(contract.MirrorState) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	reached := false
	err := m.Watch(ctx, func(s contract.MirrorState) {
		if want(s) {
			reached = true
			cancel()
		}
	})
	if err != nil || !reached {
		t.Fatalf("not reached, %v", err)
	}
}

func commit(m *mirror, term contract.Term, op contract.Op) (contract.CommitResult, error) {
	type outcome struct {
		result contract.CommitResult
		err    error
	}
	told := make(chan outcome, 1)
	m.Commit(term, op, false, func(result contract.CommitResult, err error) { told <- outcome{result, err} })
	o := <-told
	return o.result, o.err
}

// Two nodes find each other by multicast; what one commits the other takes over.
func TestTakeover(t *testing.T) {
	properties := loopback(t)
	one, two := configured(t, "one", properties), configured(t, "two", properties)
	first := contract.Term{Number: 1, Node: "one"}
	if _, err := one.Lead(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	await(t, one, func(s contract.MirrorState) bool { return s.Leading && s.InSyncStandbys == 1 })

	at := time.UnixMilli(1_700_000_000_000)
	for _, op := range []contract.Op{
		{Kind: contract.OpReceived, MessageID: "m", WorkflowID: "w", Payload: []byte("p"), Time: at},
		{Kind: contract.OpStepped, MessageID: "m", Step: "s", Payload: []byte("q"), Time: at.Add(time.Second)},
		{Kind: contract.OpProducing, MessageID: "m", Time: at.Add(2 * time.Second)},
		{Kind: contract.OpHeld, MessageID: "m", Reason: "why", Time: at.Add(3 * time.Second)},
		{Kind: contract.OpReceived, MessageID: "r"},
		{Kind: contract.OpReleased, MessageID: "r"},
		{Kind: contract.OpReceived, MessageID: "d"},
		{Kind: contract.OpDone, MessageID: "d"},
	} {
		if result, err := commit(one, first, op); result != contract.Committed {
			t.Fatalf("%+v: %v, %v", op, result, err)
		}
	}
	if result, _ := commit(one, first, contract.Op{Kind: contract.OpReceived, MessageID: "d"}); result != contract.DoneBefore {
		t.Errorf("done before: %v", result)
	}
	if result, err := commit(one, first, contract.Op{Kind: 99, MessageID: "m"}); result != contract.Invalid || err == nil {
		t.Errorf("nonsense: %v, %v", result, err)
	}
	status, err := one.Status(t.Context())
	if err != nil || status.MasterID != "one" || status.Entries != 1 || status.DedupeIDs != 1 || len(status.Peers) != 1 ||
		!status.Peers[0].InSync || !status.Peers[0].Connected || status.Peers[0].NodeID != "two" {
		t.Errorf("status %+v, %v", status, err)
	}

	await(t, two, func(s contract.MirrorState) bool { return s.InSync })
	if err := one.Follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if result, _ := commit(one, first, contract.Op{Kind: contract.OpReceived, MessageID: "late"}); result != contract.NotLeading {
		t.Errorf("after Follow: %v", result)
	}
	second := contract.Term{Number: 2, Node: "two"}
	taken, err := two.Lead(t.Context(), second)
	if err != nil || len(taken.Entries) != 1 {
		t.Fatalf("taken over %+v, %v", taken, err)
	}
	got := taken.Entries[0]
	if got.MessageID != "m" || got.WorkflowID != "w" || got.State != contract.EntryHeld || got.Step != "s" || string(got.Payload) != "q" ||
		!got.Received.Equal(at) || !got.Changed.Equal(at.Add(3*time.Second)) || got.Reason != "why" || !got.PossibleDuplicate ||
		got.Position.Term != first || taken.Sealed.Term != first {
		t.Errorf("taken over %+v, sealed at %+v", got, taken.Sealed)
	}
	await(t, one, func(s contract.MirrorState) bool { return s.InSync && s.Position.Term == second })
}

func TestBeforeConfigure(t *testing.T) {
	m := newMirror(slog.New(slog.DiscardHandler))
	if _, err := m.Lead(t.Context(), contract.Term{Number: 1, Node: "a"}); !errors.Is(err, errNotConfigured) {
		t.Errorf("Lead: %v", err)
	}
	if _, err := m.Status(t.Context()); !errors.Is(err, errNotConfigured) {
		t.Errorf("Status: %v", err)
	}
	if err := m.Follow(t.Context()); !errors.Is(err, errNotConfigured) {
		t.Errorf("Follow: %v", err)
	}
	if err := m.Watch(t.Context(), func(contract.MirrorState) {}); !errors.Is(err, errNotConfigured) {
		t.Errorf("Watch: %v", err)
	}
	if result, err := commit(m, contract.Term{}, contract.Op{}); result != contract.NotLeading || !errors.Is(err, errNotConfigured) {
		t.Errorf("Commit: %v, %v", result, err)
	}
	m.Commit(contract.Term{}, contract.Op{}, true, nil)
	if err := m.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestConfigureTwice(t *testing.T) {
	properties := loopback(t)
	m := configured(t, "one", properties)
	if _, err := m.Configure(t.Context(), contract.MirrorConfig{NodeID: "one", Cluster: "test", Properties: properties}); !errors.Is(err, errConfigured) {
		t.Errorf("error %v", err)
	}
}

func TestFaultsNameTheirKeys(t *testing.T) {
	bad := map[string]string{
		"cachesync.group": "10.0.0.1", "cachesync.port": "0", "cachesync.ttl": "256", "cachesync.listen": "here",
		"cachesync.store": "tape", "cachesync.alone": "perhaps", "cachesync.min.insync": "0", "cachesync.alone.after": "-1s",
		"cachesync.mode": "perhaps", "cachesync.lag.timeout": "1ms", "cachesync.dedupe.count": "-1", "cachesync.dedupe.time": "-1s",
	}
	unreadable := map[string]string{
		"cachesync.group": "x", "cachesync.port": "x", "cachesync.ttl": "x", "cachesync.lag.timeout": "x",
		"cachesync.dedupe.count": "x", "cachesync.dedupe.time": "x", "cachesync.min.insync": "x", "cachesync.alone.after": "x",
	}
	for _, properties := range []map[string]string{bad, unreadable} {
		_, err := newMirror(slog.New(slog.DiscardHandler)).Configure(t.Context(), contract.MirrorConfig{Properties: properties})
		if err == nil {
			t.Fatal("no fault")
		}
		for key := range properties {
			if !strings.Contains(err.Error(), key+":") {
				t.Errorf("%s is not in:\n%v", key, err)
			}
		}
		for _, key := range []string{"node.id:", "cluster.name:"} {
			if !strings.Contains(err.Error(), key) {
				t.Errorf("%s is not in:\n%v", key, err)
			}
		}
	}
	if err := DefaultConfig().Validate(); err == nil || strings.Contains(err.Error(), "cachesync.") {
		t.Errorf("the defaults lack only names, but: %v", err)
	}
}

// A bare number is milliseconds, as many as the host lets through.
func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"1500": 1500 * time.Millisecond, "-1": -time.Millisecond, "2592000000": 720 * time.Hour, "3m": 3 * time.Minute} {
		if d, err := duration(text); err != nil || d != want {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "soon", "9223372036854775807", "-9223372036854775808"} {
		if d, err := duration(text); err == nil {
			t.Errorf("%q: %v", text, d)
		}
	}
}

func TestProperties(t *testing.T) {
	c, err := ConfigFromProperties(contract.MirrorConfig{NodeID: "n", Cluster: "c", Properties: map[string]string{
		"cachesync.group": "239.1.2.3", "cachesync.port": "5000", "failover.interface": "eth9", "cachesync.ttl": "3",
		"cachesync.listen": "[::1]:0", "cachesync.mode": "async", "cachesync.lag.timeout": "1500", "cachesync.dedupe.count": "7",
		"cachesync.dedupe.time": "1h", "cachesync.store": "disk", "cachesync.min.insync": "2", "cachesync.alone": "wait",
		"failover.delay": "200", "failover.retries": "10",
	}, DataDir: "data"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Cluster, want.Mirror.NodeID = "c", "n"
	want.Group, want.Port, want.Interface, want.TTL, want.Listen = netip.MustParseAddr("239.1.2.3"), 5000, "eth9", 3, "[::1]:0"
	want.Mirror.Mode, want.Mirror.LagTimeout = "async", 1500*time.Millisecond
	want.Store, want.DataDir, want.Mirror.MinInSync, want.Mirror.Alone = OnDisk, "data", 2, cachesync.Wait
	want.Mirror.AloneAfter = 2*time.Second + 375*time.Millisecond + 200*time.Millisecond // until others have taken over
	want.Mirror.Limits.DedupeCount, want.Mirror.Limits.DedupeTime = 7, time.Hour
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

// What was committed is there again when every process has ended.
func TestDiskSurvivesTheProcess(t *testing.T) {
	properties := loopback(t)
	properties["cachesync.store"] = "disk"
	dir := t.TempDir()
	start := func() *mirror {
		m := newMirror(slog.New(slog.DiscardHandler))
		config := contract.MirrorConfig{NodeID: "one", Cluster: "test", DataDir: dir, Properties: properties}
		if _, err := m.Configure(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := start()
	first := contract.Term{Number: 1, Node: "one"}
	if _, err := m.Lead(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for _, op := range []contract.Op{
		{Kind: contract.OpReceived, MessageID: "m", Payload: []byte("p")},
		{Kind: contract.OpReceived, MessageID: "d"},
		{Kind: contract.OpDone, MessageID: "d"},
	} {
		if result, err := commit(m, first, op); result != contract.Committed {
			t.Fatal(result, err)
		}
	}
	status, err := m.Status(t.Context())
	if err != nil || !strings.HasPrefix(status.Store, dir) || status.Fault != "" || !strings.HasSuffix(status.Group, ":"+properties["cachesync.port"]) || !slices.Equal(status.InSyncSet, []string{"one"}) {
		t.Errorf("status %+v, %v", status, err)
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	m = start()
	defer func() {
		if err := m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	second := contract.Term{Number: 2, Node: "one"}
	if _, err := m.Lead(t.Context(), first); err == nil {
		t.Error("a term is led twice")
	}
	taken, err := m.Lead(t.Context(), second)
	if err != nil || len(taken.Entries) != 1 || string(taken.Entries[0].Payload) != "p" {
		t.Fatalf("taken over %+v, %v", taken, err)
	}
	if result, _ := commit(m, second, contract.Op{Kind: contract.OpReceived, MessageID: "d"}); result != contract.DoneBefore {
		t.Errorf("the finished message again: %v", result)
	}
}

func TestAddresses(t *testing.T) {
	properties := loopback(t)
	for listen, want := range map[string][2]string{
		"":                 {"127.0.0.1:0", ""},
		":7000":            {":7000", "127.0.0.1"},
		"0.0.0.0:7000":     {"0.0.0.0:7000", "127.0.0.1"},
		"[::]:7000":        {"[::]:7000", "127.0.0.1"},
		"10.1.2.3:7000":    {"10.1.2.3:7000", ""},
		"host.example:700": {"host.example:700", ""},
	} {
		config, err := ConfigFromProperties(contract.MirrorConfig{NodeID: "n", Cluster: "c", Properties: properties})
		if err != nil {
			t.Fatal(err)
		}
		config.Listen = listen
		p, err := config.peerConfig("boot")
		if err != nil || p.Listen != want[0] || p.Advertise != want[1] {
			t.Errorf("listen %q: %q, told as %q, %v", listen, p.Listen, p.Advertise, err)
		}
	}
	for _, spec := range []string{properties["cachesync.interface"], "127.0.0.1", "127.0.0.0/8"} {
		if own, err := (Config{Interface: spec}).ownAddress(); own != "127.0.0.1" || err != nil {
			t.Errorf("%s means %q, %v", spec, own, err)
		}
	}
	if _, err := (Config{Interface: "no such interface"}).ownAddress(); err == nil || !strings.Contains(err.Error(), "cachesync.interface") {
		t.Errorf("error %v", err)
	}
}
