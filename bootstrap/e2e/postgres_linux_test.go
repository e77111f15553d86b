package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// database is a PostgreSQL data folder that two nodes share, and its client.
type database struct {
	bin, dir string
	port     int
	// as runs a command as a user that PostgreSQL accepts: root is none.
	as []string
}

// newDatabase makes one, or skips the test.
func newDatabase(t *testing.T) *database {
	t.Helper()
	binaries(t) // or skip
	d := &database{dir: filepath.Join(t.TempDir(), "data")}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			found = append(found, path)
		}
	}
	if len(found) == 0 {
		t.Skip("PostgreSQL is not installed (apt-get install postgresql)")
	}
	d.bin = filepath.Dir(found[len(found)-1])
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		d.becomePostgres(t)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.port = listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	d.run(t, "initdb", "-D", d.dir, "-U", "test", "-A", "trust", "--no-sync")
	return d
}

// becomePostgres gives the folder to the user postgres, and lets him reach it.
func (d *database) becomePostgres(t *testing.T) {
	t.Helper()
	account, err := user.Lookup("postgres")
	if err != nil {
		t.Skip("PostgreSQL does not run as root, and there is no user postgres: ", err)
	}
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("PostgreSQL does not run as root, and there is no setpriv: ", err)
	}
	uid, err1 := strconv.Atoi(account.Uid)
	gid, err2 := strconv.Atoi(account.Gid)
	if err := errors.Join(err1, err2, os.Chown(d.dir, uid, gid)); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(d.dir); dir != filepath.Clean(os.TempDir()) && len(dir) > 1; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.as = []string{"setpriv", "--reuid=" + account.Uid, "--regid=" + account.Gid, "--clear-groups"}
}

func (d *database) argv(program string, args ...string) []string {
	return slices.Concat(d.as, []string{filepath.Join(d.bin, program)}, args)
}

func (d *database) run(t *testing.T, program string, args ...string) {
	t.Helper()
	argv := d.argv(program, args...)
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// server is the command that the nodes run.
func (d *database) server() []string {
	return d.argv("postgres", "-D", d.dir, "-c", "listen_addresses=127.0.0.1", "-c", "port="+strconv.Itoa(d.port),
		"-c", "unix_socket_directories=", "-c", "max_connections=20", "-c", "shared_buffers=16MB")
}

func (d *database) sql(ctx context.Context, text string) (string, error) {
	argv := d.argv("psql", "-h", "127.0.0.1", "-p", strconv.Itoa(d.port), "-U", "test", "-d", "postgres", "-X", "-q", "-A", "-t",
		"-v", "ON_ERROR_STOP=1", "-c", text)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "PGCONNECT_TIMEOUT=2", "PGOPTIONS=-c statement_timeout=5000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// TestPostgres has two nodes take turns with one PostgreSQL data folder, while rows are inserted: the host is killed, and
// frozen. What was committed is there in the end, and the server has never found another one at work in its folder.
func TestPostgres(t *testing.T) {
	d := newDatabase(t)
	var quoted []string
	for _, word := range d.server() {
		quoted = append(quoted, "'"+word+"'")
	}
	c := newCluster(t, cluster.Options{Nodes: 2, Properties: map[string]string{
		"workload.command": strings.Join(quoted, " "), "workload.stop.signal": "SIGINT", "workload.stop.timeout": "2500ms",
		"workload.dir": "/",
	}})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	leader(t, c)
	eventually(t, "the table is there", func() error {
		_, err := d.sql(t.Context(), "create table if not exists work (id int primary key)")
		return err
	})

	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	defer writing.Wait()
	defer cancel()
	var mu sync.Mutex
	committed := 0
	writing.Go(func() {
		for id := 1; ctx.Err() == nil; {
			// The one before may have been committed although its answer was lost.
			if _, err := d.sql(ctx, fmt.Sprintf("insert into work values (%d) on conflict do nothing", id)); err == nil {
				mu.Lock()
				committed = id
				mu.Unlock()
				id++
			}
		}
	})
	written := func() int {
		mu.Lock()
		defer mu.Unlock()
		return committed
	}
	progress := func(what string) {
		t.Helper()
		from := written()
		eventually(t, what, func() error {
			if now := written(); now < from+5 {
				return fmt.Errorf("%d rows", now-from)
			}
			return nil
		})
	}
	progress("rows come in")

	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGKILL} {
		master := leader(t, c)
		begun := time.Now()
		if how == syscall.SIGKILL {
			master.Kill()
		} else if err := master.Signal(how); err != nil {
			t.Fatal(err)
		}
		successor(t, c, master)
		progress("rows come in again")
		t.Logf("%s of %s: 5 rows with the next one after %s", how, master.ID, time.Since(begun).Round(time.Millisecond))
		if how == syscall.SIGKILL {
			if err := master.Start(); err != nil {
				t.Fatal(err)
			}
		} else if err := master.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		leader(t, c)
		progress("rows go on coming in")
	}
	cancel()
	writing.Wait()

	want := written()
	have, err := d.sql(t.Context(), fmt.Sprintf("select count(*) from work where id <= %d", want))
	if err != nil || have != strconv.Itoa(want) {
		t.Errorf("%s rows of %d that were committed, %v", have, want, err)
	}
	t.Logf("rows committed=%d found=%s", want, have)
	stop(t, c)
	for _, node := range c.Nodes {
		for _, line := range node.Log.Lines(0) {
			for _, sign := range []string{"already exists", "is still in use", "another postmaster", "another server"} {
				if strings.Contains(line.Raw, sign) {
					t.Errorf("%s: two at one time: %s", node.ID, line.Raw)
				}
			}
		}
	}
}
