// Package interloktest has a member of an Interlok cluster for tests: what a Java instance of interlok-failover 3.8 or
// later does, byte by byte and timer by timer, traps included, and independent of the packages it tests.
package interloktest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Java's defaults: time between pings, how long a member may be silent, how long it only listens after its start, and
// how often it looks whether it should move up.
const (
	Interval = 3 * time.Second
	Timeout  = 20 * time.Second
	Listen   = 5 * time.Second
	Poll     = 5 * time.Second
)

const (
	packetSize = 70
	primary    = 1
	secondary  = 2
	never      = time.Duration(-1 << 62)
)

// Config says how a member is started. Times that are zero are Java's defaults.
type Config struct {
	// Host and Port are what it says of itself.
	Host, Port string
	UUID       [16]byte
	// Position is the given one, 0 for none.
	Position int
	// Primary starts it as FailoverPrimaryBootstrap does.
	Primary bool
	// Start is the time of the start, by the clock of all calls.
	Start                           time.Duration
	Interval, Timeout, Listen, Poll time.Duration
}

// Java is one instance. It has no clock, no threads and no sockets: the test moves its time on, gives it what it
// receives, and sends what it says. It is not safe for concurrent use.
type Java struct {
	cfg Config
	// Exited: System.exit was called, because another primary was heard. Nothing happens any more.
	Exited bool
	// ListenerDead: a ping has ended the thread that receives multicast.
	ListenerDead bool
	// PromotedAt is when it became primary.
	PromotedAt time.Duration
	// PrimaryHeardAt is when it last heard another primary; negative if never.
	PrimaryHeardAt time.Duration

	isPrimary bool
	number    int32
	nextPing  time.Duration
	nextPoll  time.Duration
	leader    *instance // currentPrimary, when that is another one
	others    []*instance
	peers     []string
}

type instance struct {
	uuid        [16]byte
	number      int32
	lastContact time.Duration
}

// NewJava starts an instance.
func NewJava(cfg Config) *Java {
	or := func(value *time.Duration, preset time.Duration) {
		if *value == 0 {
			*value = preset
		}
	}
	or(&cfg.Interval, Interval)
	or(&cfg.Timeout, Timeout)
	or(&cfg.Listen, Listen)
	or(&cfg.Poll, Poll)
	if cfg.Port == "" {
		cfg.Port = "0"
	}
	j := &Java{
		cfg: cfg, isPrimary: cfg.Primary, PrimaryHeardAt: never,
		nextPing: cfg.Start + cfg.Listen + cfg.Interval, nextPoll: cfg.Start + cfg.Listen + cfg.Poll,
	}
	if !cfg.Primary {
		j.number = int32(cfg.Position)
	}
	return j
}

// Primary reports whether it leads.
func (j *Java) Primary() bool { return j.isPrimary && !j.Exited }

// Position is its place, 0 if it has none.
func (j *Java) Position() int { return int(j.number) }

// UUID is its id as text.
func (j *Java) UUID() string { return uuidText(j.cfg.UUID) }

// Peers are the addresses that it has learned from pings, in TCP mode.
func (j *Java) Peers() []string { return slices.Clone(j.peers) }

// Next is when Advance should be called at the latest.
func (j *Java) Next() time.Duration { return min(j.nextPing, j.nextPoll) }

// Advance does what is due by now, and returns the pings to be sent.
func (j *Java) Advance(now time.Duration) (pings [][]byte) {
	for !j.Exited && j.Next() <= now {
		if j.nextPoll <= j.nextPing {
			j.poll(j.nextPoll)
			j.nextPoll += j.cfg.Poll
			continue
		}
		j.nextPing += j.cfg.Interval
		pings = append(pings, j.Ping())
	}
	return pings
}

// Ping is what it would send now.
func (j *Java) Ping() []byte {
	kind := uint32(secondary)
	if j.isPrimary {
		kind = primary
	}
	data := make([]byte, packetSize)
	if copy(data[0:40], j.cfg.Host) < len(j.cfg.Host) || copy(data[40:46], j.cfg.Port) < len(j.cfg.Port) {
		panic("ArrayIndexOutOfBoundsException")
	}
	copy(data[46:62], j.cfg.UUID[:])
	binary.BigEndian.PutUint32(data[62:66], kind)
	binary.BigEndian.PutUint32(data[66:70], uint32(j.number))
	return data
}

// Receive is a datagram as it came. One that is too short leaves the rest of its buffer as it was in Java, which is not
// imitated: it is refused. Only the first 70 bytes of a longer one count.
func (j *Java) Receive(now time.Duration, data []byte) error {
	if j.Exited || j.ListenerDead {
		return nil
	}
	if len(data) < packetSize {
		return fmt.Errorf("a ping of %d bytes", len(data))
	}
	uuid := [16]byte(data[46:62])
	number := int32(binary.BigEndian.Uint32(data[66:70]))
	if binary.BigEndian.Uint32(data[62:66]) == primary {
		j.primaryPinged(now, uuid, number)
		return nil
	}
	host, port := trim(data[0:40]), trim(data[40:46])
	return j.secondaryPinged(now, uuid, number, host, port)
}

func trim(field []byte) string {
	return strings.TrimFunc(string(field), func(r rune) bool { return r <= ' ' })
}

func (j *Java) primaryPinged(now time.Duration, uuid [16]byte, number int32) {
	if j.leader == nil && !j.isPrimary {
		j.leader = &instance{uuid: uuid}
	}
	j.others = slices.DeleteFunc(j.others, func(i *instance) bool { return i.uuid == uuid })
	if j.isPrimary {
		if uuid != j.cfg.UUID {
			j.PrimaryHeardAt = now
			j.Exited = true // ExitMultiPrimaryConflictHandler
		}
		return
	}
	j.PrimaryHeardAt = now
	j.leader.uuid, j.leader.lastContact, j.leader.number = uuid, now, number
}

func (j *Java) secondaryPinged(now time.Duration, uuid [16]byte, number int32, host, port string) error {
	if uuid == j.cfg.UUID {
		return nil
	}
	at := slices.IndexFunc(j.others, func(i *instance) bool { return i.uuid == uuid })
	if at < 0 {
		at = len(j.others)
		j.others = append(j.others, &instance{uuid: uuid})
	}
	j.others[at].lastContact, j.others[at].number = now, number
	portNumber, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		j.ListenerDead = true // NumberFormatException, which nobody catches
		return fmt.Errorf("the listener thread has ended: the port is %q", port)
	}
	if peer := host + ":" + strconv.FormatInt(portNumber, 10); !slices.Contains(j.peers, peer) {
		j.peers = append(j.peers, peer)
	}
	return nil
}

// poll is FailoverManager.pollTriggered.
func (j *Java) poll(now time.Duration) {
	timedOut := func(lastContact time.Duration) bool { return lastContact < now-j.cfg.Timeout }
	if !j.isPrimary && !j.assign() {
		j.checkPromotion(now, timedOut)
	}
	j.others = slices.DeleteFunc(j.others, func(i *instance) bool { return timedOut(i.lastContact) })
}

// assign gives this instance a number if anybody has none, or this one's.
func (j *Java) assign() bool {
	needed := j.number == 0
	for _, other := range j.others {
		needed = needed || other.number == 0 || other.number == j.number
	}
	if !needed {
		return false
	}
	texts := []string{uuidText(j.cfg.UUID)}
	for _, other := range j.others {
		texts = append(texts, uuidText(other.uuid))
	}
	slices.Sort(texts)
	j.number = int32(slices.Index(texts, uuidText(j.cfg.UUID)) + 1)
	return true
}

func (j *Java) checkPromotion(now time.Duration, timedOut func(time.Duration) bool) {
	if j.number == 1 {
		if j.leader == nil || timedOut(j.leader.lastContact) {
			j.isPrimary, j.number, j.leader, j.PromotedAt = true, 0, nil, now
		}
		return
	}
	before := slices.IndexFunc(j.others, func(i *instance) bool { return i.number == j.number-1 })
	if before < 0 || timedOut(j.others[before].lastContact) {
		j.number--
	}
}

// uuidText is UUID.toString.
func uuidText(uuid [16]byte) string {
	var text bytes.Buffer
	for i, b := range uuid {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text.WriteByte('-')
		}
		fmt.Fprintf(&text, "%02x", b)
	}
	return text.String()
}
