package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/understudy-ha/understudy/bootstrap/management"
	cachesyncv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cachesync/v1"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// fakeNode answers on a control socket, and keeps what it was asked.
type fakeNode struct {
	controlv1.UnimplementedControlServiceServer

	status   *controlv1.StatusResponse
	refuse   error
	handover *controlv1.HandoverRequest
	pause    *controlv1.PauseRequest
	change   *controlv1.ChangeMembersRequest
}

func (n *fakeNode) Status(context.Context) *controlv1.StatusResponse { return n.status }

func (n *fakeNode) Handover(_ context.Context, r *controlv1.HandoverRequest) (*controlv1.HandoverResponse, error) {
	n.handover = r
	if n.refuse != nil {
		return nil, n.refuse
	}
	return &controlv1.HandoverResponse{
		Term: &clusterv1.Term{Number: 7, NodeId: "a"}, To: "b", NewTerm: &clusterv1.Term{Number: 8, NodeId: "b"},
		DrainNanos: int64(1500 * time.Millisecond), TakeoverNanos: int64(2300 * time.Microsecond),
		DeadlineMissed: true, Unfinished: []string{"m1", "m2"}, Fate: "they are in the mirror",
	}, nil
}

func (n *fakeNode) Pause(_ context.Context, r *controlv1.PauseRequest) (*controlv1.PauseResponse, error) {
	n.pause = r
	if !r.On {
		return &controlv1.PauseResponse{}, n.refuse
	}
	return &controlv1.PauseResponse{Paused: true, PausedBy: "a"}, n.refuse
}

func (n *fakeNode) ChangeMembers(_ context.Context, r *controlv1.ChangeMembersRequest) (*controlv1.ChangeMembersResponse, error) {
	n.change = r
	return &controlv1.ChangeMembersResponse{Voters: []string{"a", "b", "d"}}, n.refuse
}

// serve puts a fake node into a data folder, and returns how to ask it.
func (n *fakeNode) serve(t *testing.T) (ask func(args ...string) (code int, out, errs string)) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.Mkdir("data", 0o700); err != nil {
		t.Fatal(err)
	}
	control, err := management.Listen(controlSocket("data"), n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := control.Close(); err != nil {
			t.Error(err)
		}
	})
	return runMain(t)
}

func runMain(t *testing.T) func(args ...string) (code int, out, errs string) {
	return func(args ...string) (int, string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		code := Main(t.Context(), Process{
			Args: args, Stdout: &out, Stderr: &errs, Env: func(string) (string, bool) { return "", false },
		})
		return code, out.String(), errs.String()
	}
}

const ms = int64(time.Millisecond)

// fullStatus has everything that a status can show.
func fullStatus() *controlv1.StatusResponse {
	term := &clusterv1.Term{Number: 7, NodeId: "a"}
	return &controlv1.StatusResponse{
		NodeId: "a", Cluster: "orders", Version: "1.2", Pid: 4711, UptimeNanos: 60_000 * ms, Phase: "running",
		Role: failoverv1.Role_ROLE_MASTER, Term: term, MasterId: "a", Reason: "promoted", RoleSinceNanos: 1500 * ms,
		GateOpen: true, GateValidNanos: 4200 * ms, AdapterId: "orders", AdapterState: "started",
		DelayNanos: 1000 * ms, PatienceNanos: 5000 * ms, CanLead: true, Stalls: 2,
		Election: &failoverv1.StatusResponse{
			NodeId: "a", Transport: "multicast 230.0.0.1:2710 on lo", Sent: 10, Received: 20, Paused: true, PausedBy: "c",
			Dropped: map[string]uint64{"foreign": 3, "forged": 7, "old": 0}, Order: []string{"b", "c"},
			Quorum: &failoverv1.Quorum{Members: 3, Voters: []string{"a", "b", "w"}, Voter: true, LeaseNanos: 3900 * ms, Withheld: "it is young"},
			Takeover: &failoverv1.Takeover{
				Cause: "the master is silent", After: &clusterv1.Term{Number: 6, NodeId: "b"}, DetectionNanos: 5 * ms, WaitNanos: ms, ClaimNanos: 3 * ms,
			},
			Peers: []*failoverv1.PeerStatus{
				{
					NodeId: "b", Role: failoverv1.Role_ROLE_STANDBY, AgeNanos: 300 * ms, Priority: 5, CanLead: true, MirrorInSync: true,
					Hears: []*failoverv1.HeardAge{{NodeId: "a", AgeNanos: 100 * ms}, {NodeId: "w", AgeNanos: 200 * ms}}, AcknowledgedNanos: new(int64),
				},
				{NodeId: "c", Role: failoverv1.Role_ROLE_STANDBY, AgeNanos: 400 * ms, Hears: []*failoverv1.HeardAge{{NodeId: "b", AgeNanos: 9000 * ms}}},
				{NodeId: "w", Role: failoverv1.Role_ROLE_STANDBY, AgeNanos: 9000 * ms, Witness: true},
			},
		},
		Mirror: &cachesyncv1.StatusResponse{
			State: &cachesyncv1.MirrorState{InSync: true}, Entries: 1, Bytes: 2, DedupeIds: 3, Address: "127.0.0.1:1",
			Store: "data/mirror", Fault: "no space left", Group: "230.0.0.1:4446", Ehcache: "config/ehcache.xml",
			Peers: []*cachesyncv1.PeerStatus{{NodeId: "c", Connected: true}},
		},
		Warnings: []string{"failover.key.file is not set"},
	}
}

func TestStatusCommand(t *testing.T) {
	node := &fakeNode{status: fullStatus()}
	ask := node.serve(t)
	code, out, errs := ask("status")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	const want = `node      a  (cluster orders, pid 4711, up 1m0s, version 1.2)
role      master, term 7:a, for 1.5s
why       promoted
phase     running
gate      open, valid for 4.2s
stalls    2 times this process did not run when it should have
PAUSED    NOBODY IS PROMOTED, whatever happens; c said so; bootstrap resume ends it
quorum    2 of 3 voters: a, b, w
lease     a majority has given it for another 3.9s
vote      withheld: it is young
order     b, c
takeover  the master is silent; detection 5.0 ms, wait 1.0 ms, claim 3.0 ms, after term 6:b
network   multicast 230.0.0.1:2710 on lo, NOT AUTHENTICATED: failover.key.file is not set; 10 sent, 20 received
dropped   7 forged, 3 foreign
adapter   orders  started
mirror    in sync, index 0, 1 in flight (2 bytes), 3 ids remembered, at 127.0.0.1:1
          kept on disk in data/mirror, WHICH CANNOT BE WRITTEN: no space left; peers are found by 230.0.0.1:4446
          settings that nobody has made are those of config/ehcache.xml
steps     0 events, 0 dropped
warning   failover.key.file is not set

PEER  ROLE                   HEARD      PRIORITY  MIRROR     ACKNOWLEDGED
b     standby                300ms ago  5         in sync    0s ago
c     standby (cannot lead)  400ms ago  0         connected  -
w     witness                9s ago     0         -          -

HEARS  a      b      c        w
a      .      300ms  400ms !  -
b      400ms  .      -        500ms
c      -      -      .        -
w      ?      ?      ?        .
! one way: a hears c, but c does not hear a
`
	if trimmed := regexp.MustCompile(` +\n`).ReplaceAllString(out, "\n"); trimmed != want {
		t.Errorf("%s\nwant\n%s", trimmed, want)
	}
	if _, out, _ = ask("status", "-o", "json"); !json.Valid([]byte(out)) || !strings.Contains(out, `"pausedBy"`) {
		t.Errorf("not JSON: %s", out)
	}
}

func TestStatusOfOthers(t *testing.T) {
	node := &fakeNode{}
	ask := node.serve(t)
	for _, test := range []struct {
		name   string
		status *controlv1.StatusResponse
		want   []string
	}{
		{"a lapsed lease", &controlv1.StatusResponse{
			Role: failoverv1.Role_ROLE_MASTER, Term: &clusterv1.Term{Number: 7, NodeId: "a"}, CanLead: true, GateLapsed: true, GateValidNanos: -1200 * ms,
			Election: &failoverv1.StatusResponse{Quorum: &failoverv1.Quorum{Voters: []string{"a", "b", "c"}, Voter: true}},
		}, []string{"SHUT: the lease lapsed 1.2s ago", "LAPSED: no majority"}},
		{"a standby that cannot lead", &controlv1.StatusResponse{
			Role: failoverv1.Role_ROLE_STANDBY, MasterId: "b", CannotLead: "its check fails: no",
			Election: &failoverv1.StatusResponse{Sealed: true, Observer: true, Watched: &failoverv1.Watched{NodeId: "b", Address: "127.0.0.1:5"}},
		}, []string{"master    b", "not for election: its check fails: no", "never acts", ", authenticated;", "by its silence only"}},
		{"a witness", &controlv1.StatusResponse{
			Role: failoverv1.Role_ROLE_STANDBY, Election: &failoverv1.StatusResponse{Witness: true, Quorum: &failoverv1.Quorum{Members: 3}},
		}, []string{"this node votes, and never leads", "not born yet: 3 voters"}},
		{"no voter", &controlv1.StatusResponse{
			Role: failoverv1.Role_ROLE_STANDBY, Election: &failoverv1.StatusResponse{Quorum: &failoverv1.Quorum{Voters: []string{"b", "c"}}},
		}, []string{"this node has none; bootstrap members"}},
		{"a node alone", &controlv1.StatusResponse{Alone: true, GateOpen: true}, []string{"runs without failover"}},
		{"its plugin is down", &controlv1.StatusResponse{}, []string{"the failover plugin does not answer"}},
	} {
		node.status = test.status
		_, out, _ := ask("status")
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is not in\n%s", test.name, want, out)
			}
		}
	}
}

func TestHandoverCommand(t *testing.T) {
	node := &fakeNode{status: fullStatus()}
	ask := node.serve(t)
	code, out, errs := ask("handover", "b", "--timeout", "20s")
	const want = "b leads in term 8:b, 2.3 ms after the resignation of term 7:a; finishing the work took 1500.0 ms\n" +
		"not finished in time: m1, m2\nthey are in the mirror\n"
	if code != exitOK || out != want {
		t.Errorf("exit code %d, %s%s\nwant %s", code, out, errs, want)
	}
	if node.handover.To != "b" || node.handover.TimeoutNanos != int64(20*time.Second) {
		t.Errorf("asked %v", node.handover)
	}
	if _, out, _ = ask("handover", "-o", "json"); !strings.Contains(out, `"deadlineMissed"`) || node.handover.To != "" || node.handover.TimeoutNanos != 0 {
		t.Errorf("asked %v: %s", node.handover, out)
	}
	node.refuse = status.Error(codes.FailedPrecondition, "nobody could take over now\nb: it cannot lead")
	code, out, errs = ask("handover")
	if code != exitError || out != "" || errs != "bootstrap: nobody could take over now\n  b: it cannot lead\n" {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
}

func TestPauseCommands(t *testing.T) {
	node := &fakeNode{}
	ask := node.serve(t)
	if code, out, _ := ask("pause"); code != exitOK || !strings.Contains(out, "THE CLUSTER IS PAUSED (by a)") || !node.pause.On {
		t.Errorf("exit code %d, %s", code, out)
	}
	if code, out, _ := ask("resume"); code != exitOK || !strings.Contains(out, "no longer paused") || node.pause.On {
		t.Errorf("exit code %d, %s", code, out)
	}
	if _, out, _ := ask("pause", "-o", "json"); !json.Valid([]byte(out)) || !strings.Contains(out, `"a"`) {
		t.Error(out)
	}
	node.refuse = status.Error(codes.Unavailable, "the failover plugin is down")
	if code, _, errs := ask("pause"); code != exitError || !strings.Contains(errs, "the failover plugin is down") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

func TestMembersCommands(t *testing.T) {
	node := &fakeNode{status: fullStatus()}
	ask := node.serve(t)
	_, out, _ := ask("members", "list")
	const want = "NODE  VOTES  ROLE                   HEARD\na     yes    master                 this node\nb     yes    standby                300ms ago\n" +
		"w     yes    witness                9s ago\nc     no     standby (cannot lead)  400ms ago\n"
	if out != want {
		t.Errorf("%s\nwant\n%s", out, want)
	}
	if _, out, _ = ask("members", "list", "-o", "json"); !strings.Contains(out, `"voters"`) {
		t.Error(out)
	}
	for _, test := range []struct {
		args        []string
		remove, add string
	}{
		{[]string{"members", "replace", "c", "d"}, "c", "d"},
		{[]string{"members", "add", "d"}, "", "d"},
		{[]string{"members", "remove", "c"}, "c", ""},
	} {
		code, out, errs := ask(test.args...)
		if code != exitOK || out != "the voters are now: a, b, d\n" || node.change.Remove != test.remove || node.change.Add != test.add {
			t.Errorf("%v: exit code %d, %s%s, asked %v", test.args, code, out, errs, node.change)
		}
	}
	node.refuse = status.Error(codes.FailedPrecondition, "only the master can change the voters, and that is b; ask there")
	if code, _, errs := ask("members", "add", "d"); code != exitError || !strings.Contains(errs, "that is b") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	node.status = &controlv1.StatusResponse{}
	if _, out, _ = ask("members", "list"); !strings.Contains(out, "no quorum") {
		t.Error(out)
	}
}

func TestCommandLinesThatAreWrong(t *testing.T) {
	node := &fakeNode{status: fullStatus()}
	ask := node.serve(t)
	for _, args := range [][]string{
		{"status", "x"}, {"status", "-o", "xml"}, {"status", "--no-such"}, {"handover", "a", "b"}, {"handover", "--timeout", "soon"},
		{"handover", "--timeout=-1s"}, {"pause", "x"}, {"members"}, {"members", "add"}, {"members", "replace", "a"}, {"members", "promote", "a"},
		{"takeovers", "x"}, {"promote"}, {"keygen", "x"}, {"keygen", "--add", "a", "--drop", "b"}, {"failed", "retry", "m", "--timeout=-1s"},
	} {
		if code, _, errs := ask(args...); code != exitUsage || errs == "" {
			t.Errorf("%v: exit code %d, want %d: %s", args, code, exitUsage, errs)
		}
	}
	if node.handover != nil || node.pause != nil || node.change != nil {
		t.Error("a wrong command line asked for something")
	}
}

func TestCommandsWithoutANode(t *testing.T) {
	t.Chdir(t.TempDir())
	ask := runMain(t)
	for _, args := range [][]string{{"status"}, {"handover"}, {"pause"}, {"resume"}, {"members", "list"}, {"members", "add", "d"}} {
		if code, _, errs := ask(args...); code != exitError || !strings.Contains(errs, "no node answers") {
			t.Errorf("%v: exit code %d, %s", args, code, errs)
		}
	}
}

func TestTakeoversCommandWithoutReports(t *testing.T) {
	t.Chdir(t.TempDir())
	ask := runMain(t)
	if code, out, errs := ask("takeovers"); code != exitOK || !strings.Contains(out, "has not changed its role") {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
	if _, out, _ := ask("takeovers", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Error(out)
	}
	if err := os.MkdirAll(filepath.Join("data", "takeovers"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("data", "takeovers", "7-a-promotion.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := ask("takeovers"); code != exitOK || !strings.Contains(errs, "is not a takeover report") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}
