package config

import (
	"cmp"
	"strings"
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

// checkInterlok is about keys that belong to an Interlok cluster, and about positions.
func (l *loader) checkInterlok() {
	if l.value(wireKey) != wireInterlok {
		for _, key := range []string{pingIntervalKey, instanceTimeoutKey} {
			if s, given := l.given(key); given {
				l.warnAt(s.from, cmp.Or(s.spelled, key), "counts with failover.wire=interlok only; "+
					"failover.delay and failover.retries are the times of this cluster")
			}
		}
	}
	l.checkPosition()
	if l.value(socketModeKey) == "tcp" && strings.Trim(l.value(tcpPeersKey), "; ") == "" {
		l.faultIn(l.config.settings[socketModeKey], socketModeKey, "tcp needs %s: at least one other node; the others learn of this one", tcpPeersKey)
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
