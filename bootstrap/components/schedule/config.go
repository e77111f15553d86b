// Package schedule consumes the ticks of a clock: the consumer "cron" of an adapter file. Each tick is a message whose
// id follows from the time it was due at, so that a cluster does it once, whoever leads.
package schedule

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/understudy-ha/understudy/bootstrap/components/document"
)

// Config is what a cron consumer is made from.
type Config struct {
	// Path is the component's place in the adapter.
	Path string
	// Schedule says when.
	Schedule cron.Schedule
	// Content is the content of each message; "" is a JSON text with the times.
	Content string
	// Once: of the ticks that nobody could do, the last is done late, if it is not older than MissedWithin.
	Once         bool
	MissedWithin time.Duration
	// StateFile remembers the last tick that was done on this node; "" remembers none.
	StateFile string
	Logger    *slog.Logger
}

// DefaultMissedWithin is far below the time for which a mirror remembers what was done.
const DefaultMissedWithin = time.Hour

// ReadConfig reads the options. What is wrong stays in fields.
func ReadConfig(fields *document.Fields) Config {
	text := fields.Required("schedule", `"0 8 * * MON-FRI"`)
	zone := fields.Text("timezone", "")
	config := Config{
		Content:      fields.Text("content", ""),
		Once:         fields.Choice("missed", "skip", "skip", "once") == "once",
		MissedWithin: fields.Duration("missed-within", DefaultMissedWithin, time.Second),
	}
	location := time.Local
	if zone != "" {
		var err error
		if location, err = time.LoadLocation(zone); err != nil {
			fields.Fault("timezone", "%q: want a time zone, say Europe/Berlin: %v", zone, err)
			return config
		}
	}
	if text == "" {
		return config
	}
	var err error
	if config.Schedule, err = Parse(text, location); err != nil {
		fields.Fault("schedule", "%q: %v", text, err)
	}
	return config
}

// parser takes seconds as an optional first field.
var parser = cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// year is the seventh field of Quartz, when it says nothing.
var year = regexp.MustCompile(`\s+\*$`)

// Parse reads a schedule: five fields, or six with seconds first, or @daily, @every 90s and the like. Quartz's form with
// a year is taken if that is *.
func Parse(text string, location *time.Location) (cron.Schedule, error) {
	if strings.Contains(text, "TZ=") {
		return nil, fmt.Errorf("the time zone belongs into timezone")
	}
	if fields := strings.Fields(text); len(fields) == 7 {
		if !year.MatchString(strings.TrimSpace(text)) {
			return nil, fmt.Errorf("a year (%s) is not supported; want * or nothing there", fields[6])
		}
		text = strings.Join(fields[:6], " ")
	}
	schedule, err := parser.Parse(text)
	if err != nil {
		return nil, fmt.Errorf(`want five fields (minute hour day month weekday), or six with seconds first, say "0 8 * * MON-FRI": %w`, err)
	}
	switch s := schedule.(type) {
	case *cron.SpecSchedule:
		s.Location = location
	case cron.ConstantDelaySchedule:
		return every(s.Delay), nil
	}
	if schedule.Next(time.Now()).IsZero() {
		return nil, fmt.Errorf("there is no such time within the next five years")
	}
	return schedule, nil
}

// every has its ticks at multiples of itself since the epoch, so that all nodes have the same ones.
type every time.Duration

// Next implements cron.Schedule.
func (e every) Next(t time.Time) time.Time {
	return t.Truncate(time.Duration(e)).Add(time.Duration(e))
}
