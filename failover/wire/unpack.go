package wire

import (
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// unpack reads the protobuf of a datagram as proto.Unmarshal would, in half its time: the package comment says why that
// matters. It knows only the form that our own nodes write: fields that it knows, and each message at most
// once. It says false to everything else, damaged or not, which proto.Unmarshal then has to judge. So a field that is
// added to datagram.proto costs time until it is added here, and nothing else; a test says when it is missing.
func unpack(content []byte) (*failoverv1.Datagram, bool) {
	c := cursor{data: content, text: string(content), end: len(content)}
	p := new(parcel)
	c.datagram(p)
	if c.unusual {
		return nil, false
	}
	return &p.datagram, true
}

// parcel is the messages that nearly every datagram has: one allocation instead of one each.
type parcel struct {
	datagram failoverv1.Datagram
	about    failoverv1.About
	standing standingParcel
	heard    failoverv1.Heard
	heardIn  clusterv1.Term
}

type standingParcel struct {
	standing failoverv1.Standing
	mirror   clusterv1.Position
	term     clusterv1.Term
}

// usualNodes is room for the other nodes of a usual cluster.
const usualNodes = 4

// The wire types of the fields, and where the field number begins in a tag.
const (
	isVarint  = uint64(protowire.VarintType)
	isFixed64 = uint64(protowire.Fixed64Type)
	isBytes   = uint64(protowire.BytesType)
	field     = 1 << 3
)

// cursor goes over the fields of a message, and of those in it. Strings are cut out of text, a copy of all that is
// read: one allocation instead of one each.
type cursor struct {
	data     []byte
	text     string
	pos, end int
	unusual  bool
}

func (c *cursor) datagram(p *parcel) {
	d := &p.datagram
	for c.more() {
		switch c.varint() {
		case 1*field | isBytes:
			d.Cluster = c.str()
		case 2*field | isBytes:
			d.NodeId = c.str()
		case 3*field | isVarint:
			d.BootId = c.varint()
		case 4*field | isVarint:
			d.Sequence = c.varint()
		case 5*field | isBytes:
			if first(c, &d.About, &p.about) {
				c.about(p)
			}
		case 16*field | isBytes:
			c.heartbeat(d)
		case 17*field | isBytes:
			c.presence(d)
		case 18*field | isBytes:
			c.claim(d)
		case 19*field | isBytes:
			c.answer(d)
		case 20*field | isBytes:
			c.resign(d)
		case 21*field | isBytes:
			c.ack(d)
		default:
			c.give()
		}
	}
}

func (c *cursor) about(p *parcel) {
	a := &p.about
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isVarint:
			a.Role = failoverv1.Role(c.int32())
		case 2*field | isBytes:
			if first(c, &a.Standing, &p.standing.standing) {
				c.standing(&p.standing)
			}
		case 3*field | isVarint:
			a.CanLead = c.bool()
		case 4*field | isVarint:
			a.GateOpen = c.bool()
		case 5*field | isVarint:
			a.AtRest = c.bool()
		case 6*field | isBytes:
			if first(c, &a.Heard, &p.heard) {
				c.heard(p)
			}
		case 7*field | isBytes:
			a.Hears = c.append(a.Hears)
		case 8*field | isVarint:
			a.DelayNanos = c.int64()
		case 9*field | isVarint:
			a.Retries = c.int32()
		case 10*field | isBytes:
			a.AdapterDigest = c.str()
		case 11*field | isBytes:
			a.HearsAgeMillis = c.appendPacked(a.HearsAgeMillis)
		case 12*field | isVarint:
			a.Members = c.int32()
		case 13*field | isVarint:
			a.Preempt = c.bool()
		case 14*field | isVarint:
			a.PreemptDelayNanos = c.int64()
		case 15*field | isBytes:
			c.pause(a)
		case 16*field | isVarint:
			a.Observer = c.bool()
		case 17*field | isVarint:
			a.Witness = c.bool()
		case 18*field | isBytes:
			a.Address = c.str()
		case 19*field | isBytes:
			c.voters(a)
		case 20*field | isBytes:
			a.HearsAddress = c.append(a.HearsAddress)
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) standing(p *standingParcel) {
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isVarint:
			p.standing.InSync = c.bool()
		case 2*field | isBytes:
			if first(c, &p.standing.Mirror, &p.mirror) {
				c.position(p)
			}
		case 3*field | isVarint:
			p.standing.Priority = int32(protowire.DecodeZigZag(c.varint() & math.MaxUint32))
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) position(p *standingParcel) {
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isBytes:
			if first(c, &p.mirror.Term, &p.term) {
				c.term(&p.term)
			}
		case 2*field | isVarint:
			p.mirror.Index = c.varint()
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) heard(p *parcel) {
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isBytes:
			if first(c, &p.heard.Term, &p.heardIn) {
				c.term(&p.heardIn)
			}
		case 2*field | isVarint:
			p.heard.Sequence = c.varint()
		case 3*field | isVarint:
			p.heard.AgeNanos = c.int64()
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) term(t *clusterv1.Term) {
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isVarint:
			t.Number = c.varint()
		case 2*field | isBytes:
			t.NodeId = c.str()
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) stamp(s *failoverv1.Stamp) {
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isVarint:
			s.TermNumber = c.varint()
		case 2*field | isVarint:
			s.Count = c.varint()
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) pause(a *failoverv1.About) {
	pause := new(failoverv1.Pause)
	if !first(c, &a.Pause, pause) {
		return
	}
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isVarint:
			pause.Counter = c.varint()
		case 2*field | isBytes:
			pause.NodeId = c.str()
		case 3*field | isVarint:
			pause.On = c.bool()
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) voters(a *failoverv1.About) {
	p := new(struct {
		voters failoverv1.Voters
		stamp  failoverv1.Stamp
	})
	if !first(c, &a.Voters, &p.voters) {
		return
	}
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isBytes:
			if first(c, &p.voters.Stamp, &p.stamp) {
				c.stamp(&p.stamp)
			}
		case 2*field | isBytes:
			p.voters.NodeIds = c.append(p.voters.NodeIds)
		case 3*field | isVarint:
			p.voters.Settled = c.bool()
		default:
			c.give()
		}
	}
	c.leave(outer)
}

// more reports whether the message goes on.
func (c *cursor) more() bool { return c.pos < c.end && !c.unusual }

// give gives up: what is read is not the usual form.
func (c *cursor) give() { c.unusual = true }

// first notes that a message is there. A second one would have to be merged with it.
func first[M any](c *cursor, into **M, place *M) bool {
	if *into != nil {
		c.give()
		return false
	}
	*into = place
	return true
}

// enter goes into a message within this one, until leave.
func (c *cursor) enter() (outer int) {
	size := c.size()
	outer = c.end
	c.end = c.pos + size
	return outer
}

func (c *cursor) leave(outer int) { c.end = outer }

func (c *cursor) varint() uint64 {
	if c.pos < c.end && c.data[c.pos] < 0x80 { // Most are one byte.
		c.pos++
		return uint64(c.data[c.pos-1])
	}
	return c.longVarint()
}

func (c *cursor) longVarint() uint64 {
	value, n := protowire.ConsumeVarint(c.data[c.pos:c.end])
	if n < 0 {
		c.give()
		return 0
	}
	c.pos += n
	return value
}

func (c *cursor) int64() int64 { return int64(c.varint()) }

func (c *cursor) int32() int32 { return int32(c.varint()) }

func (c *cursor) bool() bool { return protowire.DecodeBool(c.varint()) }

func (c *cursor) fixed64() uint64 {
	value, n := protowire.ConsumeFixed64(c.data[c.pos:c.end])
	if n < 0 {
		c.give()
		return 0
	}
	c.pos += n
	return value
}

// size reads the length of what follows, which is there then.
func (c *cursor) size() int {
	size := c.varint()
	if size > uint64(c.end-c.pos) {
		c.give()
		return 0
	}
	return int(size)
}

func (c *cursor) str() string {
	size := c.size()
	s := c.text[c.pos : c.pos+size]
	c.pos += size
	if !utf8.ValidString(s) {
		c.give()
	}
	return s
}

func (c *cursor) append(list []string) []string {
	if list == nil {
		list = make([]string, 0, usualNodes)
	}
	return append(list, c.str())
}

func (c *cursor) appendPacked(list []uint32) []uint32 {
	outer := c.enter()
	for c.more() {
		if list == nil {
			list = make([]uint32, 0, usualNodes)
		}
		list = append(list, uint32(c.varint()))
	}
	c.leave(outer)
	return list
}
