package cli_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/cli"
)

// What stands behind -- is the program's, whatever it looks like.
func TestParseProgram(t *testing.T) {
	got, err := cli.Parse([]string{"-Xmx1g", "x.properties", "--", "/bin/db", "-Da=b", "--", "", "status"}, "")
	want := cli.Args{MemoryLimit: 1 << 30, File: "x.properties", Program: []string{"/bin/db", "-Da=b", "--", "", "status"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	if got, err = cli.Parse([]string{"--", "db"}, ""); err != nil || !reflect.DeepEqual(got, cli.Args{Program: []string{"db"}}) {
		t.Errorf("%v, %+v", err, got)
	}
	// Behind a subcommand it is the subcommand's.
	if got, err = cli.Parse([]string{"status", "--", "db"}, ""); err != nil || got.Program != nil || len(got.Rest) != 2 {
		t.Errorf("%v, %+v", err, got)
	}
	for _, args := range [][]string{{"--"}, {"x.properties", "--", ""}} {
		if _, err := cli.Parse(args, ""); err == nil || !strings.Contains(err.Error(), "-- needs a program behind it") {
			t.Errorf("%q: %v", args, err)
		}
	}
	if _, err := cli.Parse(nil, "-- db"); err == nil {
		t.Error("BOOTSTRAP_TOOL_OPTIONS took a program")
	}
}
