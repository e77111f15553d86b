package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// sample is the file of Interlok's documentation.
const sample = `<?xml version="1.0" encoding="UTF-8"?>

<ehcache xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
         xsi:noNamespaceSchemaLocation="ehcache.xsd"
         updateCheck="true" monitoring="autodetect"
         dynamicConfig="true">

    <cacheManagerPeerProviderFactory
            class="net.sf.ehcache.distribution.RMICacheManagerPeerProviderFactory"
            properties="peerDiscovery=automatic,
                        multicastGroupAddress=230.0.0.2,
                        multicastGroupPort=4447, timeToLive=3"
            propertySeparator=","/>

    <cacheManagerPeerListenerFactory
            class="net.sf.ehcache.distribution.RMICacheManagerPeerListenerFactory"
            properties="socketTimeoutMillis=200"/>

    <cache name="FAILOVER_CACHE"
           maxEntriesLocalHeap="10"
           eternal="true"
           timeToIdleSeconds="0"
           timeToLiveSeconds="0">
        <cacheEventListenerFactory
                class="net.sf.ehcache.distribution.RMICacheReplicatorFactory"
                properties="replicateAsynchronously=false, replicatePuts=true,
                            replicateUpdates=true, replicateUpdatesViaCopy=true, replicateRemovals=true "/>
    </cache>
</ehcache>
`

func parse(t testing.TB, text string) (Config, error) {
	t.Helper()
	c := DefaultConfig()
	err := c.parseEhcache("ehcache.xml", strings.NewReader(text))
	return c, err
}

func TestEhcacheSample(t *testing.T) {
	c, err := parse(t, sample)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	if c.Group != netip.MustParseAddr("230.0.0.2") || c.Port != 4447 || c.TTL != 3 || c.Mirror.Mode != cachesync.Sync || c.Listen != "" {
		t.Errorf("got %+v", c)
	}
	// Ten entries and no time to live take nothing away.
	if c.Mirror.Limits != want.Mirror.Limits {
		t.Errorf("limits %+v", c.Mirror.Limits)
	}
	if len(c.Notices) != 0 {
		t.Errorf("the sample needs no notice: %q", c.Notices)
	}
}

func TestEhcacheOtherValues(t *testing.T) {
	c, err := parse(t, `<ehcache>
	<cacheManagerPeerListenerFactory class="x.RMICacheManagerPeerListenerFactory" properties="hostName=10.0.0.1;port=4001" propertySeparator=";"/>
	<cache name="FAILOVER_CACHE" maxElementsInMemory="500000" timeToLiveSeconds="120">
		<cacheEventListenerFactory class="RMICacheReplicatorFactory" properties="replicatePuts=false"/>
	</cache>
	<terracottaConfig url="x"><deeper/></terracottaConfig>
	<cache name="OTHER" maxEntriesLocalHeap="x"/>
</ehcache>`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "10.0.0.1:4001" || c.Mirror.Limits.DedupeCount != 500_000 || c.Mirror.Limits.DedupeTime != 2*time.Minute || c.Mirror.Mode != cachesync.Async {
		t.Errorf("got %+v", c)
	}
	for i, want := range []string{"ehcache.xml:4: replicatePuts=false", "ehcache.xml:6: <terracottaConfig>", `ehcache.xml:7: cache "OTHER"`} {
		if i >= len(c.Notices) || !strings.Contains(c.Notices[i], want) {
			t.Errorf("notices %q, want %q", c.Notices, want)
		}
	}
}

func TestEhcacheFaultsHaveTheirPlace(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no xml":     {"group=1", "no <ehcache>"},
		"other root": {"<beans/>", "ehcache.xml:1: the file begins with <beans>"},
		"cut off":    {"<ehcache>\n<cache name='FAILOVER_CACHE'>", "ehcache.xml:2"},
		"twice":      {"<ehcache/>\n<ehcache/>", "ehcache.xml:2"},
		"port": {"<ehcache>\n<cacheManagerPeerProviderFactory class='RMICacheManagerPeerProviderFactory' properties='multicastGroupPort=many'/></ehcache>",
			"ehcache.xml:2: multicastGroupPort=many"},
		"group":  {"<ehcache><cacheManagerPeerProviderFactory class='RMICacheManagerPeerProviderFactory' properties='multicastGroupAddress=x'/></ehcache>", "multicastGroupAddress=x"},
		"manual": {"<ehcache><cacheManagerPeerProviderFactory class='RMICacheManagerPeerProviderFactory' properties='peerDiscovery=manual'/></ehcache>", "want automatic"},
		"ttl":    {"<ehcache><cache name='FAILOVER_CACHE' timeToLiveSeconds='-1'/></ehcache>", "timeToLiveSeconds=-1"},
		"huge":   {"<ehcache>" + strings.Repeat("<a/>", 1<<18) + "</ehcache>", "no ehcache.xml"},
	} {
		if _, err := parse(t, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	if c, _ := parse(t, "<ehcache>"+strings.Repeat("<a/>", 1000)+"</ehcache>"); len(c.Notices) != maxNotices+1 {
		t.Errorf("%d notices", len(c.Notices))
	}
}

func TestPropertiesWinOverEhcache(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ehcache.xml")
	if err := os.WriteFile(path, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	from := contract.MirrorConfig{
		NodeID: "n", Cluster: "c",
		Properties: map[string]string{"cachesync.ehcache": path, "cachesync.port": "9999", "cachesync.group": "230.0.0.1", "cachesync.ttl": "1"},
		Defaults:   []string{"cachesync.group", "cachesync.ttl"},
	}
	c, err := ConfigFromProperties(from)
	if err != nil {
		t.Fatal(err)
	}
	if c.Port != 9999 || c.Group != netip.MustParseAddr("230.0.0.2") || c.TTL != 3 {
		t.Errorf("got %+v", c)
	}
	if c.Ehcache != path || c.Validate() != nil {
		t.Errorf("file %q, %v", c.Ehcache, c.Validate())
	}
	// The election's group cannot be the mirror's, and only here it is known what the file says.
	from.Properties["failover.group"], from.Properties["failover.port"] = "230.0.0.2", "9999"
	if c, err = ConfigFromProperties(from); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "230.0.0.2:9999 is the election's") || !strings.Contains(err.Error(), path) {
		t.Errorf("one group for both: %v", err)
	}
	from.Properties["failover.socket.mode"] = "tcp"
	if c, err = ConfigFromProperties(from); err != nil || c.Validate() != nil {
		t.Errorf("an election by TCP has no group: %v, %v", err, c.Validate())
	}
	from.Properties["cachesync.ehcache"] += ".missing"
	if _, err := ConfigFromProperties(from); err == nil || !strings.Contains(err.Error(), "cachesync.ehcache") {
		t.Errorf("a missing file: %v", err)
	}
}

func FuzzEhcache(f *testing.F) {
	f.Add(sample)
	f.Add("<ehcache><cache name='FAILOVER_CACHE' maxEntriesLocalHeap='-9' timeToLiveSeconds='99999999999'/></ehcache>")
	f.Add("<!DOCTYPE x [<!ENTITY a 'b'>]><ehcache>&a;</ehcache>")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(t, text)
		if err == nil && c.Mirror.Limits.DedupeTime < 0 {
			t.Errorf("time %v", c.Mirror.Limits.DedupeTime)
		}
		if len(c.Notices) > maxNotices+1 {
			t.Errorf("%d notices", len(c.Notices))
		}
		_ = c.Validate() // must not panic, whatever was read
	})
}
