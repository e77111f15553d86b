package wire

import (
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// This file is unpack's part for the bodies of a datagram. Each takes one allocation.

// body reports whether this is the only body: of several the last one counts, which is for proto.Unmarshal.
func (c *cursor) body(d *failoverv1.Datagram) bool {
	if d.Body != nil {
		c.give()
		return false
	}
	return true
}

func (c *cursor) heartbeat(d *failoverv1.Datagram) {
	if !c.body(d) {
		return
	}
	p := new(struct {
		body     failoverv1.Datagram_Heartbeat
		message  failoverv1.Heartbeat
		term     clusterv1.Term
		liveness failoverv1.Liveness
	})
	p.body.Heartbeat, d.Body = &p.message, &p.body
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isBytes:
			if first(c, &p.message.Term, &p.term) {
				c.term(&p.term)
			}
		case 2*field | isVarint:
			p.message.Sequence = c.varint()
		case 3*field | isBytes:
			p.message.Members = c.append(p.message.Members)
		case 4*field | isBytes:
			if first(c, &p.message.Liveness, &p.liveness) {
				c.liveness(&p.liveness)
			}
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) liveness(l *failoverv1.Liveness) {
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isBytes:
			l.Address = c.str()
		case 2*field | isFixed64:
			l.Process = c.fixed64()
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) presence(d *failoverv1.Datagram) {
	if !c.body(d) {
		return
	}
	p := new(struct {
		body    failoverv1.Datagram_Presence
		message failoverv1.Presence
	})
	p.body.Presence, d.Body = &p.message, &p.body
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isVarint:
			p.message.Asks = c.bool()
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) claim(d *failoverv1.Datagram) {
	if !c.body(d) {
		return
	}
	p := new(struct {
		body        failoverv1.Datagram_Claim
		message     failoverv1.Claim
		term, heard clusterv1.Term
		standing    standingParcel
		stamp       failoverv1.Stamp
	})
	p.body.Claim, d.Body = &p.message, &p.body
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isBytes:
			if first(c, &p.message.Term, &p.term) {
				c.term(&p.term)
			}
		case 2*field | isBytes:
			if first(c, &p.message.Standing, &p.standing.standing) {
				c.standing(&p.standing)
			}
		case 3*field | isBytes:
			if first(c, &p.message.HeardTerm, &p.heard) {
				c.term(&p.heard)
			}
		case 4*field | isVarint:
			p.message.HeardSequence = c.varint()
		case 5*field | isVarint:
			p.message.Resigned = c.bool()
		case 6*field | isBytes:
			if first(c, &p.message.Voters, &p.stamp) {
				c.stamp(&p.stamp)
			}
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) answer(d *failoverv1.Datagram) {
	if !c.body(d) {
		return
	}
	p := new(struct {
		body    failoverv1.Datagram_Answer
		message failoverv1.Answer
		claim   clusterv1.Term
	})
	p.body.Answer, d.Body = &p.message, &p.body
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isBytes:
			if first(c, &p.message.Claim, &p.claim) {
				c.term(&p.claim)
			}
		case 2*field | isVarint:
			p.message.Verdict = failoverv1.Verdict(c.int32())
		case 3*field | isVarint:
			p.message.Vote = c.bool()
		case 4*field | isVarint:
			p.message.Highest = c.varint()
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) resign(d *failoverv1.Datagram) {
	if !c.body(d) {
		return
	}
	p := new(struct {
		body    failoverv1.Datagram_Resign
		message failoverv1.Resign
		term    clusterv1.Term
	})
	p.body.Resign, d.Body = &p.message, &p.body
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isBytes:
			if first(c, &p.message.Term, &p.term) {
				c.term(&p.term)
			}
		case 2*field | isVarint:
			p.message.Sequence = c.varint()
		case 3*field | isBytes:
			p.message.Successor = c.str()
		default:
			c.give()
		}
	}
	c.leave(outer)
}

func (c *cursor) ack(d *failoverv1.Datagram) {
	if !c.body(d) {
		return
	}
	p := new(struct {
		body    failoverv1.Datagram_Ack
		message failoverv1.Ack
		term    clusterv1.Term
		stamp   failoverv1.Stamp
	})
	p.body.Ack, d.Body = &p.message, &p.body
	outer := c.enter()
	for c.more() {
		switch c.varint() {
		case 1*field | isBytes:
			if first(c, &p.message.Term, &p.term) {
				c.term(&p.term)
			}
		case 2*field | isVarint:
			p.message.Sequence = c.varint()
		case 3*field | isBytes:
			if first(c, &p.message.Voters, &p.stamp) {
				c.stamp(&p.stamp)
			}
		default:
			c.give()
		}
	}
	c.leave(outer)
}
