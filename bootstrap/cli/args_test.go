package cli_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/cli"
	"github.com/understudy-ha/understudy/bootstrap/config"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, line, tool string
		want             cli.Args
	}{
		{"nothing", "", "", cli.Args{}},
		{"a file", "orders.properties", "", cli.Args{File: "orders.properties"}},
		{"a file with a path and no dot", "conf/orders", "", cli.Args{File: "conf/orders"}},
		{"defines", "-Da=b -Dc= -Dd -De=f=g -Da=h", "", cli.Args{Defines: []config.Define{
			{Key: "a", Value: "b"}, {Key: "c"}, {Key: "d"}, {Key: "e", Value: "f=g"}, {Key: "a", Value: "h"},
		}}},
		{"agents in order", "-agent:metrics=port=9100,x -javaagent:lib/audit.jar=y -agent:trace -javaagent:C:\\lib\\z.jar", "", cli.Args{
			Agents: []cli.Agent{{"metrics", "port=9100,x"}, {"audit", "y"}, {"trace", ""}, {"z", ""}},
		}},
		{"the weaver is built in", "-javaagent:/opt/lib/aspectjweaver-1.7.4.jar=x", "", cli.Args{}},
		{"class paths", "-cp config:lib/a.jar:lib/*:B.JAR -classpath : --class-path=more --class-path last", "", cli.Args{
			Search: []string{"config", ".", ".", "more", "last"},
		}},
		{"memory", "-Xmx1024m", "", cli.Args{MemoryLimit: 1 << 30}},
		{"memory in bytes", "-Xmx268435456", "", cli.Args{MemoryLimit: 256 << 20}},
		{"memory, the last counts", "-Xmx5K -Xmx2G", "", cli.Args{MemoryLimit: 2 << 30}},
		{"for a JVM only", "-Xms64m -XX:+UseG1GC -server --add-opens=java.base/java.lang=ALL-UNNAMED", "", cli.Args{Warnings: []string{
			"-Xms64m is for a JVM and is ignored", "-XX:+UseG1GC is for a JVM and is ignored", "-server is for a JVM and is ignored",
			"--add-opens=java.base/java.lang=ALL-UNNAMED is for a JVM and is ignored",
		}}},
		{"version", "-version", "", cli.Args{Version: true}},
		{"version, as everywhere else", "--version", "", cli.Args{Version: true}},
		{"help", "-h", "", cli.Args{Help: true}},
		{"help, as everywhere else", "--help", "", cli.Args{Help: true}},
		{"check", "--configcheck x.properties", "", cli.Args{ConfigCheck: true, File: "x.properties"}},
		{"check, as elsewhere", "-configcheck", "", cli.Args{ConfigCheck: true}},
		{"failover", "--failover -failover", "", cli.Args{Factories: []string{"failover"}}},

		{"a start script for Interlok 3", "-cp lib/interlok-core.jar:/opt/interlok/config -javaagent:lib/aspectjweaver-1.7.4.jar " +
			"-Dorg.aspectj.weaver.loadtime.configuration=META-INF/profiler-aop.xml -Xmx1024m " +
			"com.adaptris.core.management.SimpleBootstrap bootstrap.properties", "", cli.Args{
			Search:      []string{"/opt/interlok/config"},
			Defines:     []config.Define{{Key: "org.aspectj.weaver.loadtime.configuration", Value: "META-INF/profiler-aop.xml"}},
			MemoryLimit: 1 << 30,
			File:        "bootstrap.properties",
		}},
		{"a start script for interlok-failover", "-jar lib/interlok-boot.jar --failover bootstrap.properties", "", cli.Args{
			Factories: []string{"failover"}, File: "bootstrap.properties",
		}},
		{"its main class", "com.adaptris.failover.SimpleBootstrap bootstrap.properties", "", cli.Args{
			Factories: []string{"failover"}, File: "bootstrap.properties",
		}},

		{"a command", "status", "", cli.Args{Command: "status"}},
		{"a command with its own arguments", "-Da=b -cp x status --json -Dc=d orders-1 --class-path y -h z.properties", "", cli.Args{
			Command: "status", Rest: []string{"--json", "orders-1", "-h", "z.properties"},
			Defines: []config.Define{{Key: "a", Value: "b"}, {Key: "c", Value: "d"}}, Search: []string{"x", "y"},
		}},

		{"tool options come first", "-Da=2 x.properties", "-Da=1 -Xmx1k", cli.Args{
			Defines: []config.Define{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}}, MemoryLimit: 1024, File: "x.properties",
		}},
		{"quotes in tool options", "", ` -Da="b c" '-Dd=e "f"'` + "\n\t" + `-Dg=\n""`, cli.Args{
			Defines: []config.Define{{Key: "a", Value: "b c"}, {Key: "d", Value: `e "f"`}, {Key: "g", Value: `\n`}},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := cli.Parse(strings.Fields(test.line), test.tool)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v\nwant\n%+v", got, test.want)
			}
		})
	}
}

func TestParseUnsetVariables(t *testing.T) {
	got, err := cli.Parse([]string{"", "-Da=b", "", "x.properties", ""}, "")
	if err != nil || got.File != "x.properties" || len(got.Defines) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseFaults(t *testing.T) {
	tests := []struct{ name, line, tool, want string }{
		{"an unknown option", "--color", "", "unknown option --color"},
		{"a lone dash", "-", "", "unknown option -"},
		{"a define without a key", "-D=x", "", "-D=x has no key; want -Dkey=value"},
		{"a define of nothing", "-D", "", "-D has no key; want -Dkey=value"},
		{"an agent without a name", "-agent:=x", "", "-agent:=x: want the name of a plugin in lib, as in -agent:NAME or -agent:NAME=OPTIONS"},
		{"an agent outside of lib", "-agent:../x", "", "-agent:../x: want the name of a plugin in lib, as in -agent:NAME or -agent:NAME=OPTIONS"},
		{"a Java agent without a name", "-javaagent:lib/", "", "-javaagent:lib/: want a path, as in -javaagent:lib/NAME.jar or -javaagent:lib/NAME.jar=OPTIONS"},
		{"a class path without a path", "-cp", "", "-cp needs a path: -cp FOLDER[:FOLDER]"},
		{"a jar without a jar", "-jar", "", "-jar needs a file; bootstrap takes its place, so leave both out"},
		{"memory of no size", "-Xmx", "", "-Xmx: want a size in bytes, or with k, m or g, as in -Xmx1024m"},
		{"memory of a strange size", "-Xmx10mm", "", "-Xmx10mm: want a size in bytes, or with k, m or g, as in -Xmx1024m"},
		{"less than no memory", "-Xmx-5m", "", "-Xmx-5m: want a size in bytes, or with k, m or g, as in -Xmx1024m"},
		{"more memory than there is", "-Xmx9000000000g", "", "-Xmx9000000000g: want a size in bytes, or with k, m or g, as in -Xmx1024m"},
		{"two files", "a.properties b.properties", "", `"b.properties": there is a properties file already, "a.properties"; want one`},
		{"all at once", "--color -D", "-Xmxy", "-Xmxy: want a size in bytes, or with k, m or g, as in -Xmx1024m\nunknown option --color\n-D has no key; want -Dkey=value"},
		{"an open quote", "", `-Da="b`, `BOOTSTRAP_TOOL_OPTIONS: a quote " is not closed`},
		{"a file in tool options", "", "x.properties", `BOOTSTRAP_TOOL_OPTIONS: "x.properties" is not an option; files and commands belong on the command line`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := cli.Parse(strings.Fields(test.line), test.tool)
			if err == nil {
				t.Fatal("no error")
			}
			if want := test.want + "\n" + cli.Usage; err.Error() != want {
				t.Errorf("error:\n%v\nwant:\n%s", err, want)
			}
		})
	}
}

// FuzzParse: there is always an answer, an error ends with the usage, and no agent leaves the lib folder.
func FuzzParse(f *testing.F) {
	f.Add("-Da=b\x00-cp\x00x:y\x00status\x00-h", `-Xmx1g "-agent:x=y z"`)
	f.Add("-javaagent:\\..\\.jar\x00-Xmx99999999999999999999t", "'")
	f.Fuzz(func(t *testing.T, line, tool string) {
		args, err := cli.Parse(strings.Split(line, "\x00"), tool)
		if err != nil && !strings.HasSuffix(err.Error(), "\n"+cli.Usage) {
			t.Errorf("no usage: %v", err)
		}
		for _, agent := range args.Agents {
			if strings.ContainsAny(agent.Name, `/\`) || strings.HasPrefix(agent.Name, ".") || agent.Name == "" {
				t.Errorf("an agent outside of lib: %q", agent.Name)
			}
		}
		if args.MemoryLimit < 0 {
			t.Errorf("memory limit: %d", args.MemoryLimit)
		}
	})
}
