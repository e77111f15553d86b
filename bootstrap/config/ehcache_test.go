package config_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/config"
)

// TestEhcacheIsFound: the file of Ehcache counts if it is on the search path, as on a JVM's class path, or is named.
func TestEhcacheIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		files files
		opt   config.Options
		want  string
		// origin is that of cachesync.ehcache.
		origin string
	}{
		"none":             {props(), config.Options{}, "", ""},
		"in config":        {files{"config/ehcache.xml": "<ehcache/>", "ehcache.xml": "", "bootstrap.properties": ""}.with(), config.Options{}, "config/ehcache.xml", "default"},
		"in the folder":    {files{"ehcache.xml": "<ehcache/>", "bootstrap.properties": "cachesync.ehcache="}.with(), config.Options{}, "ehcache.xml", "default"},
		"on the path":      {files{"b/ehcache.xml": "", "bootstrap.properties": ""}.with(), config.Options{Search: []string{"a", "b", "config"}}, "b/ehcache.xml", "default"},
		"by its name":      {files{"config/ehcache.xml": "", "config/other.xml": "", "bootstrap.properties": "cachesync.ehcache=other.xml"}.with(), config.Options{}, "config/other.xml", "bootstrap.properties:1"},
		"as a URL":         {files{"x.xml": "", "bootstrap.properties": ""}.with(), config.Options{Defines: define("cachesync.ehcache", "file://localhost/./x.xml")}, "x.xml", "-D"},
		"without a mirror": {files{"config/ehcache.xml": "", "bootstrap.properties": "cachesync.enabled=false"}.with(), config.Options{}, "", ""},
		"at a witness":     {files{"config/ehcache.xml": "", "bootstrap.properties": "cluster.name=c\nfailover.members=3\nprofiler.plugin.factory=failover"}.with(), config.Options{Witness: true}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := c.files.write(t)
			got, _ := mustLoad(t, dir, c.opt)
			want := ""
			if c.want != "" {
				want = filepath.Join(dir, filepath.FromSlash(c.want))
			}
			if got.EhcacheFile != want || got.Properties()["cachesync.ehcache"] != want || got.Origin("cachesync.ehcache") != c.origin {
				t.Errorf("file %q, property %q from %q; want %q from %q", got.EhcacheFile, got.Properties()["cachesync.ehcache"],
					got.Origin("cachesync.ehcache"), want, c.origin)
			}
		})
	}
}

// TestDefaultsAreToldApart: what nobody has set is a default, whatever its value.
func TestDefaultsAreToldApart(t *testing.T) {
	dir := props("cachesync.port=4446", "failover.interface=lo", "their.own=1").write(t)
	c, _ := mustLoad(t, dir, config.Options{Defines: define("cachesync.ttl", "1")})
	defaults := c.Defaults()
	if !slices.IsSorted(defaults) {
		t.Errorf("not in order: %q", defaults)
	}
	for key, want := range map[string]bool{
		"cachesync.port": false, "cachesync.ttl": false, "failover.interface": false, "their.own": false,
		"cachesync.group": true, "cachesync.mode": true,
		"cachesync.interface": true, // it follows failover.interface
	} {
		if slices.Contains(defaults, key) != want {
			t.Errorf("%s among the defaults: %v", key, !want)
		}
	}
	if len(defaults) >= len(c.Properties()) {
		t.Errorf("all of %d properties are defaults", len(c.Properties()))
	}
}

// TestElectionAndEhcacheMayShareADefault: with an ehcache.xml the default port of the mirror need not be its port, and
// the plugin that reads the file looks.
func TestElectionAndEhcacheMayShareADefault(t *testing.T) {
	dir := files{"config/ehcache.xml": "<ehcache/>", "bootstrap.properties": "failover.port=4446"}.with().write(t)
	mustLoad(t, dir, config.Options{})
}
