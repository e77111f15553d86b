package schedule_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/document"
	"github.com/understudy-ha/understudy/bootstrap/components/message"
	"github.com/understudy-ha/understudy/bootstrap/components/schedule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(t *testing.T, text string) schedule.Config {
	t.Helper()
	s, err := schedule.Parse(text, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	return schedule.Config{Path: "orders/files/w/consumer", Schedule: s, MissedWithin: time.Hour, Logger: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, c schedule.Config) *schedule.Consumer {
	t.Helper()
	consumer := schedule.NewConsumer(c)
	if err := consumer.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return consumer
}

func receive(t *testing.T, c *schedule.Consumer) *adapter.Delivery {
	t.Helper()
	d, err := c.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func settle(t *testing.T, d *adapter.Delivery, failure error) {
	t.Helper()
	if err := d.Settle(t.Context(), failure); err != nil {
		t.Error(err)
	}
}

// The clock of a bubble begins at midnight UTC, 2000-01-01.
func clock() string { return time.Now().UTC().Format("15:04:05") }

func TestTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, config(t, "*/5 * * * *"))
		for _, want := range []string{"00:00:00", "00:05:00", "00:10:00"} {
			d := receive(t, c)
			if got := clock(); got != want || d.MessageID != "orders/files/w/consumer@2000-01-01T"+want+"Z" {
				t.Errorf("at %s: %s, want %s", got, d.MessageID, want)
			}
			batch, err := message.From(d.Batch)
			if err != nil {
				t.Fatal(err)
			}
			text, err := batch[0].AsBytes()
			var content struct{ Scheduled, Fired time.Time }
			if err != nil || json.Unmarshal(text, &content) != nil || content.Scheduled.Format("15:04:05") != want {
				t.Errorf("content %s", text)
			}
			if d.Batch.Meta("cron_late") != "false" || d.Batch.Meta("cron_scheduled") != "2000-01-01T"+want+"Z" {
				t.Errorf("metadata %q %q", d.Batch.Meta("cron_late"), d.Batch.Meta("cron_scheduled"))
			}
			settle(t, d, nil)
		}
		if c.Redelivers() {
			t.Error("a tick is not delivered again by itself")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// A tick that was given back comes again, under its id, before the next.
func TestGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, config(t, "0 * * * *"))
		first := receive(t, c)
		back := time.AfterFunc(time.Minute, func() { settle(t, first, errors.New("no")) })
		defer back.Stop()
		again := receive(t, c)
		if again.MessageID != first.MessageID || clock() != "00:01:00" {
			t.Errorf("%s at %s", again.MessageID, clock())
		}
	})
}

// Ticks that were missed: nobody led, or the workflow was busy.
func TestMissed(t *testing.T) {
	for name, test := range map[string]struct {
		once   bool
		within time.Duration
		first  string
		at     string
		late   string
	}{
		"skip":             {false, time.Hour, "08:00:00", "08:00:00", "false"},
		"once":             {true, time.Hour, "07:50:00", "07:57:00", "true"},
		"once, but of old": {true, 5 * time.Minute, "08:00:00", "08:00:00", "false"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(7*time.Hour + 57*time.Minute)
				cfg := config(t, "*/10 * * * *")
				cfg.Once, cfg.MissedWithin = test.once, test.within
				c := open(t, cfg)
				d := receive(t, c)
				if !strings.HasSuffix(d.MessageID, "T"+test.first+"Z") || clock() != test.at || d.Batch.Meta("cron_late") != test.late {
					t.Errorf("%s at %s, late %s", d.MessageID, clock(), d.Batch.Meta("cron_late"))
				}
				time.Sleep(35 * time.Minute) // busy
				settle(t, d, nil)
				want := "08:40:00"
				if test.once {
					want = "08:30:00"
				}
				if d = receive(t, c); !strings.HasSuffix(d.MessageID, "T"+want+"Z") {
					t.Errorf("after being busy: %s at %s, want %s", d.MessageID, clock(), want)
				}
			})
		})
	}
}

// A node that is started again does not do what it has done, mirror or not.
func TestOwnMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t, "0 * * * *")
		cfg.Once, cfg.StateFile = true, filepath.Join(t.TempDir(), "schedules", "it")
		time.Sleep(90 * time.Minute)
		c := open(t, cfg)
		d := receive(t, c)
		if !strings.HasSuffix(d.MessageID, "T01:00:00Z") {
			t.Error(d.MessageID)
		}
		if err := c.Close(t.Context()); err != nil { // it died before it was done
			t.Error(err)
		}
		c = open(t, cfg)
		d = receive(t, c)
		if !strings.HasSuffix(d.MessageID, "T01:00:00Z") {
			t.Error(d.MessageID)
		}
		settle(t, d, nil)
		c = open(t, cfg)
		if d = receive(t, c); !strings.HasSuffix(d.MessageID, "T02:00:00Z") || clock() != "02:00:00" {
			t.Errorf("%s at %s", d.MessageID, clock())
		}
		// What is not readable is no reason to stand still.
		if err := os.WriteFile(cfg.StateFile, []byte("yesterday"), 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, cfg)
	})
}

func TestLifecycle(t *testing.T) {
	c := schedule.NewConsumer(config(t, "@hourly"))
	if _, err := c.Receive(t.Context()); err == nil {
		t.Error("receive before open")
	}
	if err := errors.Join(c.Close(t.Context()), c.Open(t.Context())); err != nil {
		t.Error(err)
	}
	if err := c.Open(t.Context()); err == nil {
		t.Error("opened twice")
	}
	if err := errors.Join(c.Close(t.Context()), c.Close(t.Context())); err != nil {
		t.Error(err)
	}
}

// Where a clock is turned back or forward, each hour's tick comes once; and all nodes mean the same instants.
func TestTimeZonesAndForms(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	for text, want := range map[string]string{
		"0 8 * * MON-FRI":     "2026-11-25T07:00:00Z",
		"0 0 8 ? * MON-FRI *": "2026-11-25T07:00:00Z", // as Quartz has it
		"30 0 8 * * *":        "2026-11-25T07:00:30Z",
		"@daily":              "2026-11-24T23:00:00Z",
		"@every 90s":          "2026-11-24T12:01:30Z",
	} {
		s, err := schedule.Parse(text, berlin)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := s.Next(time.Date(2026, 11, 24, 12, 0, 10, 0, time.UTC)).UTC().Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                                      `f.yaml:1: consumer cron: schedule is missing; say schedule: "0 8 * * MON-FRI"`,
		"{schedule: often}":                       `f.yaml:1: consumer cron: schedule: "often": want five fields (minute hour day month weekday), or six with seconds first`,
		"{schedule: '0 0 30 2 *'}":                "there is no such time within the next five years",
		"{schedule: '0 0 8 * * ? 2030'}":          "a year (2030) is not supported",
		"{schedule: 'TZ=UTC 0 8 * * *'}":          "the time zone belongs into timezone",
		"{schedule: '@daily', timezone: Mars/X}":  `timezone: "Mars/X": want a time zone, say Europe/Berlin`,
		"{schedule: '@daily', missed: all}":       `missed: unknown value "all"; allowed here: once, skip`,
		"{schedule: '@daily', missed-within: 1d}": `missed-within: "1d": want a duration`,
		"{schedule: '@daily', schedul: x}":        `unknown option "schedul"; did you mean "schedule"?`,
	} {
		var node yaml.Node
		if err := yaml.Unmarshal([]byte(text), &node); err != nil {
			t.Fatal(err)
		}
		fields := document.NewFields(document.Source{File: "f.yaml"}, "consumer cron", node.Content[0])
		schedule.ReadConfig(fields)
		if err := errors.Join(fields.Faults()...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"* * * * *", "0 0 8 ? * MON-FRI *", "@every 1s", "*/0 * * * *", "60 * * * *", "1-1/9 * * * *"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := schedule.Parse(text, time.UTC)
		if err != nil {
			return
		}
		now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
		if next := s.Next(now); !next.IsZero() && !next.After(now) {
			t.Errorf("%q: %s is not after %s", text, next, now)
		}
	})
}
