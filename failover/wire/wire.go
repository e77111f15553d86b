// Package wire is the form of the election's datagrams: six plain bytes (magic, version, least version) and a
// protobuf, see proto/understudy/failover/v1/datagram.proto, sealed if there are keys. It takes packets from strangers
// apart without trusting a byte of them, and says of each that it refuses why, as a Cause that can be counted. README.md
// has the format to the byte, and the order of the checks.
//
// The protobuf is read by the code that vtprotobuf generates, in half the time of proto.Unmarshal. It does not look
// whether text is UTF-8: check does, for every text that there is.
package wire

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

const (
	// Version is what this build writes.
	Version = 1
	// LeastVersion is the oldest version that this build reads, and the least that a reader of its datagrams
	// must know.
	LeastVersion = 1

	// MaxSize is the greatest size of a datagram in bytes. Usual ones have some hundred and fit one packet.
	MaxSize = 16 << 10
	// MaxID is the greatest length of a node id, a cluster's name and a digest in bytes.
	MaxID = 128
	// MaxNodes is how many nodes a list may have.
	MaxNodes = 64
	// MaxNumber bounds the number of a term, so that it can always be counted on.
	MaxNumber = math.MaxInt64

	magic      = "USTY"
	headerSize = len(magic) + 2
)

// Cause is why a datagram was refused; the text is the counter's name.
type Cause string

// The causes.
const (
	NotOurs      Cause = "not-ours"
	OtherCluster Cause = "other-cluster"
	OtherVersion Cause = "other-version"
	Malformed    Cause = "malformed"
	TooLong      Cause = "too-long"
	// UnknownBody is a kind of message that a later version has added. Nothing is wrong with it.
	UnknownBody Cause = "unknown-body"
)

// Error is the refusal of a datagram.
type Error struct {
	Cause  Cause
	Detail string
}

// Error gives cause and detail.
func (e *Error) Error() string { return "datagram refused, " + string(e.Cause) + ": " + e.Detail }

func refuse(cause Cause, format string, args ...any) error {
	return &Error{Cause: cause, Detail: fmt.Sprintf(format, args...)}
}

// CauseOf returns the cause of a refusal, Malformed for any other error.
func CauseOf(err error) Cause {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal.Cause
	}
	return Malformed
}

// Encode gives the bytes of a datagram. It refuses what Decode would refuse.
func Encode(datagram *failoverv1.Datagram) ([]byte, error) {
	if err := check(datagram); err != nil {
		return nil, err
	}
	size := headerSize + proto.Size(datagram)
	if size > MaxSize {
		return nil, refuse(TooLong, "%d bytes, at most %d", size, MaxSize)
	}
	data := append(make([]byte, 0, size), magic...)
	data = append(data, Version, LeastVersion)
	data, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(data, datagram)
	if err != nil {
		return nil, refuse(Malformed, "%v", err)
	}
	return data, nil
}

// Decode reads a plain datagram of a cluster. The error is always an *Error. Nothing of data is kept.
func Decode(data []byte, cluster string) (*failoverv1.Datagram, error) {
	version, least, err := readHeader(data)
	if err != nil {
		return nil, err
	}
	return decode(version, least, data[headerSize:], cluster)
}

// readHeader reads the six plain bytes.
func readHeader(data []byte) (version, least byte, err error) {
	switch {
	case len(data) < headerSize || string(data[:len(magic)]) != magic:
		return 0, 0, errNotOurs
	case len(data) > MaxSize:
		return 0, 0, errTooLong
	}
	return data[len(magic)], data[len(magic)+1], nil
}

// errNotOurs and errTooLong cost no allocation, like all refusals that anybody can cause at will.
var (
	errNotOurs = &Error{Cause: NotOurs, Detail: "it does not begin with " + magic}
	errTooLong = &Error{Cause: TooLong, Detail: "it is longer than " + strconv.Itoa(MaxSize) + " bytes"}
)

func readable(version, least byte) bool { return least <= Version && version >= LeastVersion }

func otherVersion(version, least byte) error {
	return refuse(OtherVersion, "it has version %d and needs a reader of at least %d; this node writes %d and reads from %d",
		version, least, Version, LeastVersion)
}

// decode reads what follows the six plain bytes.
func decode(version, least byte, content []byte, cluster string) (*failoverv1.Datagram, error) {
	if !readable(version, least) {
		return nil, otherVersion(version, least)
	}
	datagram := new(failoverv1.Datagram)
	if err := datagram.UnmarshalVT(content); err != nil {
		return nil, refuse(Malformed, "%v", err)
	}
	if datagram.GetCluster() != cluster {
		return nil, refuse(OtherCluster, "it is of cluster %q, this node of %q", clip(datagram.GetCluster()), cluster)
	}
	if err := check(datagram); err != nil {
		return nil, err
	}
	return datagram, nil
}

// check holds the limits of everything that the election relies on.
func check(d *failoverv1.Datagram) error {
	about := d.GetAbout()
	err := errors.Join(
		checkID("cluster", d.GetCluster()),
		checkID("node_id", d.GetNodeId()),
		checkList("about.hears", about.GetHears()),
		checkTerm("about.heard.term", about.GetHeard().GetTerm(), true),
		checkTerm("about.standing.mirror.term", about.GetStanding().GetMirror().GetTerm(), true),
		checkList("about.voters", about.GetVoters().GetNodeIds()),
		checkStamp("about.voters.stamp", about.GetVoters().GetStamp()),
		checkOptionalID("about.address", about.GetAddress()),
		checkOptionalID("about.adapter_digest", about.GetAdapterDigest()),
		checkAddresses(about.GetHearsAddress()),
		checkPause(about.GetPause()),
	)
	switch {
	case err != nil:
		return refuse(Malformed, "%v", err)
	case d.GetBootId() == 0 || d.GetSequence() == 0:
		return refuse(Malformed, "boot_id or sequence is missing")
	case about.GetHeard().GetAgeNanos() < 0 || about.GetDelayNanos() < 0 || about.GetRetries() < 0 ||
		about.GetMembers() < 0 || about.GetPreemptDelayNanos() < 0:
		return refuse(Malformed, "about has a negative number")
	}
	if err := checkBody(d); err != nil {
		return err
	}
	return nil
}

func checkBody(d *failoverv1.Datagram) error {
	var err error
	switch body := d.GetBody().(type) {
	case *failoverv1.Datagram_Heartbeat:
		err = errors.Join(
			checkTerm("heartbeat.term", body.Heartbeat.GetTerm(), false),
			checkList("heartbeat.members", body.Heartbeat.GetMembers()),
			checkLiveness("heartbeat.liveness", body.Heartbeat.GetLiveness()))
	case *failoverv1.Datagram_Presence:
	case *failoverv1.Datagram_Claim:
		err = errors.Join(
			checkTerm("claim.term", body.Claim.GetTerm(), false),
			checkTerm("claim.heard_term", body.Claim.GetHeardTerm(), true),
			checkTerm("claim.standing.mirror.term", body.Claim.GetStanding().GetMirror().GetTerm(), true),
			checkStamp("claim.voters", body.Claim.GetVoters()))
	case *failoverv1.Datagram_Answer:
		err = checkTerm("answer.claim", body.Answer.GetClaim(), false)
		if body.Answer.GetHighest() > MaxNumber {
			return refuse(Malformed, "answer.highest is %d, at most %d", body.Answer.GetHighest(), uint64(MaxNumber))
		}
		switch body.Answer.GetVerdict() {
		case failoverv1.Verdict_VERDICT_GRANT, failoverv1.Verdict_VERDICT_DEFER, failoverv1.Verdict_VERDICT_OBJECT:
		default:
			return refuse(UnknownBody, "an answer with verdict %d", body.Answer.GetVerdict())
		}
	case *failoverv1.Datagram_Resign:
		err = errors.Join(
			checkTerm("resign.term", body.Resign.GetTerm(), false),
			checkTerm("resign.superseded_by", body.Resign.GetSupersededBy(), true),
			checkOptionalID("resign.successor", body.Resign.GetSuccessor()))
	case *failoverv1.Datagram_Ack:
		err = errors.Join(
			checkTerm("ack.term", body.Ack.GetTerm(), false),
			checkStamp("ack.voters", body.Ack.GetVoters()))
	default:
		return refuse(UnknownBody, "a message that this version does not know")
	}
	if err != nil {
		return refuse(Malformed, "%v", err)
	}
	return nil
}

// checkTerm allows the zero term only where there may be none.
func checkTerm(field string, term *clusterv1.Term, optional bool) error {
	switch {
	case term.GetNumber() == 0 && term.GetNodeId() == "" && optional:
		return nil
	case term.GetNumber() == 0:
		return fmt.Errorf("%s has no number", field)
	case term.GetNumber() > MaxNumber:
		return fmt.Errorf("%s has the number %d, at most %d", field, term.GetNumber(), uint64(MaxNumber))
	}
	if err := ValidID(term.GetNodeId()); err != nil {
		return fmt.Errorf("%s.node_id: %w", field, err)
	}
	return nil
}

func checkStamp(field string, s *failoverv1.Stamp) error {
	if s.GetTermNumber() > MaxNumber || s.GetCount() > MaxNumber {
		return fmt.Errorf("%s has the number %d/%d, at most %d", field, s.GetTermNumber(), s.GetCount(), uint64(MaxNumber))
	}
	return nil
}

// checkPause allows none. Its counter must leave room for as many more as anybody can say.
func checkPause(p *failoverv1.Pause) error {
	switch {
	case p == nil:
		return nil
	case p.GetCounter() == 0 || p.GetCounter() > MaxNumber:
		return fmt.Errorf("about.pause.counter is %d", p.GetCounter())
	}
	return checkID("about.pause.node_id", p.GetNodeId())
}

func checkAddresses(addresses []string) error {
	if len(addresses) > MaxNodes {
		return fmt.Errorf("about.hears_address has %d entries, at most %d", len(addresses), MaxNodes)
	}
	for _, address := range addresses {
		if err := checkOptionalID("about.hears_address", address); err != nil {
			return err
		}
	}
	return nil
}

func checkOptionalID(field, id string) error {
	if id == "" {
		return nil
	}
	return checkID(field, id)
}

// checkLiveness allows none. Whether the address makes sense is for whoever connects to it.
func checkLiveness(field string, l *failoverv1.Liveness) error {
	if l == nil {
		return nil
	}
	if l.GetProcess() == 0 {
		return fmt.Errorf("%s has no process", field)
	}
	return checkID(field+".address", l.GetAddress())
}

func checkList(field string, ids []string) error {
	if len(ids) > MaxNodes {
		return fmt.Errorf("%s has %d entries, at most %d", field, len(ids), MaxNodes)
	}
	for _, id := range ids {
		if err := checkID(field, id); err != nil {
			return err
		}
	}
	return nil
}

// checkID allows what can stand in a log line without disguise.
func checkID(field, id string) error {
	if err := ValidID(id); err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}

// ValidID reports what is wrong with the id of a node or the name of a cluster: it must have 1 to MaxID bytes
// of printable UTF-8.
func ValidID(id string) error {
	switch {
	case id == "":
		return errors.New("it is empty")
	case len(id) > MaxID:
		return fmt.Errorf("it has %d bytes, at most %d", len(id), MaxID)
	case plainASCII(id): // Nearly every one is.
		return nil
	case !utf8.ValidString(id):
		return errors.New("it is not UTF-8")
	}
	for _, r := range id {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("it contains the character %U, which cannot be printed", r)
		}
	}
	return nil
}

func plainASCII(id string) bool {
	for i := range len(id) {
		if id[i] < ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// clip keeps the start of a stranger's text.
func clip(text string) string {
	if len(text) > MaxID {
		return text[:MaxID] + "..."
	}
	return text
}
