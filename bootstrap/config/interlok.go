package config

import (
	"cmp"
	"errors"
	"strconv"
	"strings"
	"time"
)

// aliases are other spellings of our keys, from the files and -D options of both generations of Interlok's failover,
// and what they are read as.
func aliases() map[string]string {
	return map[string]string{
		"com.adaptris.profiler.plugin.factory": factoryKey,
		"PLUGIN_FACTORY_CLASS":                 factoryKey,
		"failover.multicast.group":             "failover.group",
		"failover.multicast.port":              "failover.port",
		"failover.slave.position":              positionKey,
		"interval.instance.timeout.seconds":    instanceTimeoutKey,
		"adapterConfigUrl":                     adapterKey,
		"interlok.config.url":                  adapterKey,
	}
}

// aliasNote is what is said about an alias beyond what it is read as.
func aliasNote(alias string) string {
	if alias == "interval.instance.timeout.seconds" {
		return "; Interlok's documentation has this key, but Interlok itself never read it"
	}
	return ""
}

// deadKeys are keys that Interlok's documentation has, and that mean nothing here: whoever sets one should hear it.
// A name that ends in a dot stands for all that begin with it.
func deadKeys() map[string]string {
	return map[string]string{
		"failover.jgroups.": "JGroups is not spoken here; failover.socket.mode=tcp does without multicast",
		"adapterConfigUrl.": "there is no second adapter to fall back to; only adapterConfigUrl is read",
		"startAdapterQuietly": "a node whose adapter does not start says so, gives the role up and does not stand for election; " +
			"it is never quiet about it",
		"interlok.failover.debug": "log.level=debug shows what the election does",
		"operationTimeout":        "stop.timeout is how long a stop may take",
	}
}

// deadReason says why a key means nothing; empty for keys that may mean something.
func deadReason(name string) string {
	dead := deadKeys()
	if reason, ok := dead[name]; ok {
		return reason
	}
	for prefix, reason := range dead {
		if strings.HasSuffix(prefix, ".") && strings.HasPrefix(name, prefix) {
			return reason
		}
	}
	return ""
}

// Interlok has the times of an Interlok cluster. They must be the same on all its members, Java's too.
type Interlok struct {
	// Interval is the time between two pings, Timeout how long a member may be silent.
	Interval, Timeout time.Duration
}

// The times of Java that no property sets: how long a new member only listens, and how often all look whether they
// should move up. The other numbers are those of failover/interlok/rules, which say why.
const (
	interlokListen = 5 * time.Second
	interlokPoll   = 5 * time.Second
	leastPings     = 3
	lostPings      = 2
)

// patience is how long it takes at most until a member in position 1 leads after the primary's last ping: the timeout,
// the poll that finds it out, and the one before that for which it must have held its place.
func (i Interlok) patience() time.Duration { return i.Timeout + 2*interlokPoll }

// lease is how long a primary may work after a ping: as long as none of the others leads for lack of pings, also if the
// last were lost, or if one of Java's has just been started.
func (i Interlok) lease() time.Duration {
	lost := min(max(i.Timeout/i.Interval-2, 0), lostPings)
	return min(i.Timeout-lost*i.Interval, interlokListen+interlokPoll) - i.Timeout/20
}

// steady: a lease lasts well beyond the next ping.
func (i Interlok) steady() bool { return i.lease() >= i.Interval+i.Interval/4 }

// FailoverPatience is how long a master may be silent before somebody else leads at the latest. With failover.wire=interlok
// it follows from Interlok's times, else it is failover.delay x failover.retries.
func (c *Config) FailoverPatience() time.Duration {
	if c.Interlok != nil {
		return c.Interlok.patience()
	}
	return time.Duration(c.FailoverRetries) * c.FailoverDelay
}

// FailoverBeat is the time between two signs of life of a node.
func (c *Config) FailoverBeat() time.Duration {
	if c.Interlok != nil {
		return c.Interlok.Interval
	}
	return c.FailoverDelay
}

// FailoverLease is how long a master may work after its last sign of life; see FailoverBeat.
func (c *Config) FailoverLease() time.Duration {
	if c.Interlok != nil {
		return c.Interlok.lease()
	}
	return time.Duration(c.FailoverRetries) * c.FailoverDelay
}

// socketMode checks failover.socket.mode. Java has a third one, which is not spoken here.
func socketMode(c *Config, value string) error {
	if value == "jgroups" {
		return errors.New(`"jgroups" is not spoken here; set tcp or multicast on all members first, Java's too`)
	}
	return choice[string](nil, "multicast", "tcp")(c, value)
}

// interlokDefaults puts the defaults of an Interlok cluster in place of ours, wherever nobody has said anything.
func (l *loader) interlokDefaults() {
	if l.value(wireKey) != wireInterlok {
		return
	}
	seconds := func(key string) time.Duration {
		n, err := strconv.Atoi(l.value(key)) // Checked already.
		if err != nil {
			return 0
		}
		return time.Duration(n) * time.Second
	}
	times := Interlok{
		Interval: cmp.Or(seconds(pingIntervalKey), 3*time.Second),
		Timeout:  cmp.Or(seconds(instanceTimeoutKey), 20*time.Second),
	}
	l.config.Interlok = &times
	// Those of Interlok's documentation; Java has none.
	l.preset("failover.group", "224.0.0.4")
	l.preset("failover.port", "4446")
	// A master that is cut off must not go on without its standbys sooner than one of them leads.
	l.preset("cachesync.alone.after", min(times.patience(), 24*time.Hour).String())
	if _, given := l.given(tcpPortKey); !given {
		delete(l.config.settings, tcpPortKey) // Over multicast pings say 0, as Java's do; over tcp it has to be given.
	}
}

// preset is a default that differs from that of the table.
func (l *loader) preset(key, value string) {
	if _, given := l.given(key); !given {
		l.config.settings[key] = setting{value: value}
	}
}

// checkInterlok is about keys that belong to an Interlok cluster, and about positions.
func (l *loader) checkInterlok() {
	if l.value(socketModeKey) == "tcp" && strings.Trim(l.value(tcpPeersKey), "; ") == "" {
		l.faultIn(l.config.settings[socketModeKey], socketModeKey, "tcp needs %s: at least one other node; the others learn of this one", tcpPeersKey)
	}
	if l.config.Interlok != nil {
		l.checkInterlokTimes(*l.config.Interlok)
		l.checkInterlokPort()
		l.checkPromises()
		l.warnUnheard()
		// Nobody watches processes, so there is nothing to listen on.
		l.config.FailoverEvidence = ToggleOff
		l.config.settings[evidenceKey] = setting{value: string(ToggleOff)}
		return
	}
	for _, key := range []string{pingIntervalKey, instanceTimeoutKey} {
		if s, given := l.given(key); given {
			l.warnAt(s.from, cmp.Or(s.spelled, key), "counts with failover.wire=interlok only; "+
				"failover.delay and failover.retries are the times of this cluster")
		}
	}
	l.checkPosition()
}

// checkInterlokTimes refuses times with which a single lost ping, or none at all, would make a second primary.
func (l *loader) checkInterlokTimes(times Interlok) {
	least := leastPings * times.Interval
	most := 20 * (interlokListen + interlokPoll - times.Interval - times.Interval/4) // See lease and steady.
	switch {
	case most < least:
		l.faultTime(pingIntervalKey, instanceTimeoutKey, "a ping every %s is too seldom: a Java member that has just started leads when it has "+
			"heard none for %s; want at most 5 on all members", times.Interval, interlokListen+interlokPoll)
	case times.Timeout < least:
		l.faultTime(instanceTimeoutKey, pingIntervalKey, "a timeout of %s is too short for a ping every %s: one lost ping would make a second "+
			"primary; want at least %s on all members, Java's too", times.Timeout, times.Interval, least)
	case !times.steady():
		l.faultTime(instanceTimeoutKey, pingIntervalKey, "a timeout of %s is too long for a ping every %s: a Java member that has just started "+
			"leads after %s, and what is left of them for clocks that differ is no lease; want at most %s on all members",
			times.Timeout, times.Interval, interlokListen+interlokPoll, most)
	}
}

// faultTime blames the first of two keys that somebody has set. One has been: the defaults have no fault.
func (l *loader) faultTime(key, other, format string, args ...any) {
	if _, given := l.given(key); !given {
		key = other
	}
	l.faultIn(l.config.settings[key], key, format, args...)
}

// checkInterlokPort: all members have this one's port in their lists, so it cannot be guessed.
func (l *loader) checkInterlokPort() {
	if _, given := l.given(tcpPortKey); l.value(socketModeKey) == "tcp" && !given {
		l.faultIn(l.config.settings[socketModeKey], socketModeKey, "tcp needs %s: Interlok has no default for it; give the port that stands "+
			"in %s of the other members", tcpPortKey, tcpPeersKey)
	}
}

// checkPromises: what somebody relies on, and an Interlok cluster cannot keep, is a fault.
func (l *loader) checkPromises() {
	if l.config.FailoverMembers > 0 {
		l.faultIn(l.config.settings[wireKey], wireKey, "an Interlok cluster knows no votes; leave failover.members out")
	}
	if l.config.Witness {
		at, key := l.config.settings[wireKey], wireKey
		if s, given := l.given(witnessKey); given {
			at, key = s, witnessKey
		}
		l.faultIn(at, key, "an Interlok cluster knows no votes, so this node cannot be its witness; give it an adapter, or leave it out")
	}
	if s, given := l.given(uncleanKey); given && s.value == string(ToggleOff) {
		l.faultIn(s, uncleanKey, "cannot be promised: in an Interlok cluster the positions decide who leads, the mirror is not asked; leave it out")
	}
}

// unheard are the keys that mean nothing to a member of an Interlok cluster, with the value, if there is one, by which
// they ask for nothing, and the reason.
func unheard() []struct{ key, nothing, reason string } {
	const (
		silence  = "nothing but silence counts in an Interlok cluster"
		sticky   = "nobody can take the role from a healthy primary of an Interlok cluster"
		noQuorum = "an Interlok cluster knows no votes"
	)
	return []struct{ key, nothing, reason string }{
		{"failover.retries", "", instanceTimeoutKey + " is how long a member may be silent; failover.delay is how often the host reports"},
		{evidenceKey, string(ToggleOff), silence},
		{"failover.liveness.listen", "", silence},
		{priorityKey, "0", "an Interlok cluster knows positions only; " + positionKey + " counts"},
		{"failover.preempt", string(ToggleOff), sticky},
		{"failover.preempt.delay", "", sticky},
		{witnessKey, "", noQuorum},
		{"failover.drift", "", noQuorum},
		{uncleanKey, string(ToggleOff), "in an Interlok cluster the positions decide who leads, the mirror is not asked"},
	}
}

// warnUnheard names what has no effect, and what has less than it seems.
func (l *loader) warnUnheard() {
	for _, u := range unheard() {
		s, given := l.given(u.key)
		refused := u.key == witnessKey && l.config.Witness
		if given && !refused && s.value != u.nothing {
			l.warnAt(s.from, cmp.Or(s.spelled, u.key), "means nothing with failover.wire=interlok: %s", u.reason)
		}
	}
	if s, given := l.given(keyFileKey); given {
		l.warnAt(s.from, keyFileKey, "counts for the mirror only: PINGS OF AN INTERLOK CLUSTER ARE NOT AUTHENTICATED, whoever is on its "+
			"network can forge them")
	}
}

// checkPosition: a position is a priority in other words, so there must not be both, not even by default.
func (l *loader) checkPosition() {
	position, given := l.given(positionKey)
	if !given {
		return
	}
	if _, both := l.given(priorityKey); both {
		l.warnAt(position.from, cmp.Or(position.spelled, positionKey), "failover.priority is given too, and says the same in "+
			"another way: position k is the priority -k; keep one of them")
		return
	}
	delete(l.config.settings, priorityKey)
}

// given returns the setting of a key that somebody has set.
func (l *loader) given(key string) (setting, bool) {
	s, ok := l.config.settings[key]
	return s, ok && !s.from.isDefault() && s.value != ""
}
