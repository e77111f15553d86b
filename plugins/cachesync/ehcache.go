package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
)

// The file that Interlok's failover needs for Ehcache, read for what it means here. Nothing in it can take a promise
// of the mirror back: what cannot be honoured is a notice with its line.

// failoverCache is the cache that Interlok's failover uses. Other caches of the file belong to somebody else.
const failoverCache = "FAILOVER_CACHE"

// maxEhcache bounds the file, maxNotices what is said about it.
const (
	maxEhcache = 1 << 20
	maxNotices = 50
)

// readEhcache reads the file over the configuration.
func (c *Config) readEhcache(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cachesync.ehcache: %w", err)
	}
	defer file.Close()
	return c.parseEhcache(path, file)
}

// parseEhcache reads an ehcache.xml; name is for messages. The configuration may be half read if it fails.
func (c *Config) parseEhcache(name string, from io.Reader) error {
	limited := &io.LimitedReader{R: from, N: maxEhcache + 1}
	e := ehcache{config: c, name: name, decoder: xml.NewDecoder(limited)}
	// Names and addresses are ASCII in every encoding that such files come in.
	e.decoder.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	err := e.document()
	if limited.N <= 0 {
		err = fmt.Errorf("%s: more than %d bytes are no ehcache.xml", name, maxEhcache)
	}
	return errors.Join(append([]error{err}, e.faults...)...)
}

// ehcache reads one file.
type ehcache struct {
	config  *Config
	name    string
	decoder *xml.Decoder
	faults  []error
	// omitted is the number of notices beyond the bound.
	omitted int
}

func (e *ehcache) place() string {
	line, _ := e.decoder.InputPos()
	return fmt.Sprintf("%s:%d", e.name, line)
}

func (e *ehcache) fault(format string, args ...any) {
	if len(e.faults) < maxNotices {
		e.faults = append(e.faults, fmt.Errorf("%s: %w", e.place(), fmt.Errorf(format, args...)))
	}
}

func (e *ehcache) notice(format string, args ...any) {
	if len(e.config.Notices) >= maxNotices {
		e.omitted++
		return
	}
	e.config.Notices = append(e.config.Notices, e.place()+": "+fmt.Sprintf(format, args...))
}

// document reads the root element and what is in it.
func (e *ehcache) document() error {
	found := false
	for {
		token, err := e.decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.place(), err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if found || start.Name.Local != "ehcache" {
			return fmt.Errorf("%s: the file begins with <%s>, want <ehcache>", e.place(), start.Name.Local)
		}
		found = true
		if err := e.children(e.element); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("%s: there is no <ehcache> in it", e.name)
	}
	if e.omitted > 0 {
		e.config.Notices = append(e.config.Notices, fmt.Sprintf("%s: and %d more", e.name, e.omitted))
	}
	return nil
}

// children calls read for each element up to the end of the current one. read must consume its element.
func (e *ehcache) children(read func(xml.StartElement) error) error {
	for {
		token, err := e.decoder.Token()
		if err != nil {
			return fmt.Errorf("%s: %w", e.place(), err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if err := read(token); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		}
	}
}

func (e *ehcache) skip() error {
	if err := e.decoder.Skip(); err != nil {
		return fmt.Errorf("%s: %w", e.place(), err)
	}
	return nil
}

// element reads what stands in <ehcache>.
func (e *ehcache) element(start xml.StartElement) error {
	switch start.Name.Local {
	case "cacheManagerPeerProviderFactory":
		e.provider(start)
	case "cacheManagerPeerListenerFactory":
		e.listener(start)
	case "cache":
		return e.cache(start)
	case "diskStore", "defaultCache", "sizeOfPolicy":
		// They say nothing about the failover's cache.
	default:
		e.notice("<%s> has no meaning for the mirror", start.Name.Local)
	}
	return e.skip()
}

// attribute returns an attribute of an element, or "".
func attribute(start xml.StartElement, name string) string {
	for _, a := range start.Attr {
		if a.Name.Local == name {
			return strings.TrimSpace(a.Value)
		}
	}
	return ""
}

// properties cuts the attribute of that name into pairs, at propertySeparator.
func (e *ehcache) properties(start xml.StartElement) [][2]string {
	separator := attribute(start, "propertySeparator")
	if separator == "" {
		separator = ","
	}
	var pairs [][2]string
	for part := range strings.SplitSeq(attribute(start, "properties"), separator) {
		key, value, found := strings.Cut(part, "=")
		if key = strings.TrimSpace(key); key == "" && !found {
			continue
		}
		pairs = append(pairs, [2]string{key, strings.TrimSpace(value)})
	}
	return pairs
}

// class reports whether the element's class is the one of Ehcache's RMI replication; another one cannot be honoured.
func (e *ehcache) class(start xml.StartElement, want string) bool {
	class := attribute(start, "class")
	if class == want || strings.HasSuffix(class, "."+want) {
		return true
	}
	e.notice("<%s> with class %q is not honoured, only %s is", start.Name.Local, class, want)
	return false
}

func (e *ehcache) provider(start xml.StartElement) {
	if !e.class(start, "RMICacheManagerPeerProviderFactory") {
		return
	}
	c := e.config
	for _, p := range e.properties(start) {
		switch key, value := p[0], p[1]; key {
		case "peerDiscovery":
			if value != "automatic" {
				e.fault("peerDiscovery=%s: the mirror finds its peers by multicast: want automatic", value)
			}
		case "multicastGroupAddress":
			set(e, key, value, &c.Group, netip.ParseAddr)
		case "multicastGroupPort":
			set(e, key, value, &c.Port, strconv.Atoi)
		case "timeToLive":
			set(e, key, value, &c.TTL, strconv.Atoi)
		case "hostName":
			e.notice("hostName=%s is not honoured: name the interface in cachesync.interface", value)
		case "mcastGroup", "rmiUrls":
			e.notice("%s has no meaning with peerDiscovery=automatic", key)
		default:
			e.notice("%s=%s is not known", key, value)
		}
	}
}

func (e *ehcache) listener(start xml.StartElement) {
	if !e.class(start, "RMICacheManagerPeerListenerFactory") {
		return
	}
	host, port := "", ""
	for _, p := range e.properties(start) {
		switch key, value := p[0], p[1]; key {
		case "hostName":
			host = value
		case "port":
			port = value
		case "remoteObjectPort", "socketTimeoutMillis":
			// RMI's own; how long a peer is waited for is cachesync.lag.timeout.
		default:
			e.notice("%s=%s is not known", key, value)
		}
	}
	if host != "" || port != "" {
		if port == "" {
			port = "0"
		}
		e.config.Listen = net.JoinHostPort(host, port)
	}
}

// cache reads a <cache>.
func (e *ehcache) cache(start xml.StartElement) error {
	if name := attribute(start, "name"); name != failoverCache {
		e.notice("cache %q is not the failover's, which is %s", name, failoverCache)
		return e.skip()
	}
	e.limits(start)
	return e.children(func(child xml.StartElement) error {
		switch child.Name.Local {
		case "cacheEventListenerFactory":
			e.replicator(child)
		case "bootstrapCacheLoaderFactory", "persistence":
			// A node that comes gets all there is, always; what is kept on disk is cachesync.store.
		default:
			e.notice("<%s> in <cache> has no meaning for the mirror", child.Name.Local)
		}
		return e.skip()
	})
}

// limits reads the attributes of the cache. The mirror forgets no message in flight, so a number of entries and a
// time to live are those of the window of finished ids.
func (e *ehcache) limits(start xml.StartElement) {
	limits := &e.config.Mirror.Limits
	for _, key := range []string{"maxEntriesLocalHeap", "maxElementsInMemory"} {
		value := attribute(start, key)
		if value == "" {
			continue
		}
		entries := limits.DedupeCount
		set(e, key, value, &entries, strconv.Atoi)
		if limits.DedupeCount < entries {
			limits.DedupeCount = entries
		}
	}
	if attribute(start, "eternal") == "true" {
		return // then the times do not count
	}
	seconds := 0
	if value := attribute(start, "timeToLiveSeconds"); value != "" {
		set(e, "timeToLiveSeconds", value, &seconds, strconv.Atoi)
	}
	if seconds < 0 {
		e.fault("timeToLiveSeconds=%d: want 0 or more", seconds)
	} else if seconds > 0 {
		const longest = 100 * 365 * 24 * 3600
		limits.DedupeTime = time.Duration(min(seconds, longest)) * time.Second
	}
}

func (e *ehcache) replicator(start xml.StartElement) {
	if !e.class(start, "RMICacheReplicatorFactory") {
		return
	}
	e.config.Mirror.Mode = cachesync.Async // Ehcache's default
	for _, p := range e.properties(start) {
		switch key, value := p[0], p[1]; key {
		case "replicateAsynchronously":
			async := true
			if set(e, key, value, &async, strconv.ParseBool); !async {
				e.config.Mirror.Mode = cachesync.Sync
			}
		case "replicatePuts", "replicateUpdates", "replicateRemovals", "replicatePutsViaCopy", "replicateUpdatesViaCopy":
			if value == "false" {
				e.notice("%s=false is not honoured: the mirror replicates everything", key)
			}
		case "asynchronousReplicationIntervalMillis", "asynchronousReplicationMaximumBatchSize":
			// What waits is sent as soon as the line is free.
		default:
			e.notice("%s=%s is not known", key, value)
		}
	}
}

// set reads one value.
func set[T any](e *ehcache, key, value string, into *T, parse func(string) (T, error)) {
	parsed, err := parse(value)
	if err != nil {
		e.fault("%s=%s: %w", key, value, err)
		return
	}
	*into = parsed
}
