package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/durable"
	"github.com/understudy-ha/understudy/bootstrap/components/message"
)

// lateness is by how much a tick may be late without being missed: timers are, and so is a worker that comes back.
const lateness = time.Second

// longestSleep bounds the wait for a tick, after which the clock is looked at again: somebody may have set it.
const longestSleep = time.Minute

// errNotOpen is returned by what is used before Open or after Close.
var errNotOpen = errors.New("not open")

// Consumer delivers a message at each tick of its schedule.
type Consumer struct {
	config Config

	mu sync.Mutex
	// open is nil when not open; guarded by mu.
	open *ticks
}

// ticks is a consumer between Open and Close.
type ticks struct {
	// after is the last tick that was delivered or missed. Only the receiving goroutine uses it.
	after time.Time

	mu sync.Mutex
	// again are ticks that were given back; guarded by mu.
	again []time.Time
	// wake has room for one.
	wake chan struct{}
	// done is the last tick that was done here; guarded by mu.
	done time.Time
}

var _ adapter.Consumer = (*Consumer)(nil)

// NewConsumer touches nothing yet.
func NewConsumer(config Config) *Consumer {
	config.Logger = config.Logger.With("component", config.Path)
	return &Consumer{config: config}
}

// Open looks which ticks were missed.
func (c *Consumer) Open(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open != nil {
		return fmt.Errorf("%s: already open", c.config.Path)
	}
	now := time.Now()
	t := &ticks{after: now.Add(-lateness), wake: make(chan struct{}, 1)}
	if c.config.Once {
		done, err := c.readState()
		if err != nil {
			return fmt.Errorf("%s: %w", c.config.Path, err)
		}
		t.done = done
		if t.after = now.Add(-c.config.MissedWithin); done.After(t.after) {
			t.after = done
		}
	}
	c.open = t
	return nil
}

// Receive waits for the next tick.
func (c *Consumer) Receive(ctx context.Context) (*adapter.Delivery, error) {
	c.mu.Lock()
	t := c.open
	c.mu.Unlock()
	if t == nil {
		return nil, fmt.Errorf("%s: %w", c.config.Path, errNotOpen)
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if due, found := t.takeAgain(); found {
			return c.delivery(t, due), nil
		}
		due, wait := c.next(t, time.Now())
		if wait <= 0 {
			t.after = due
			return c.delivery(t, due), nil
		}
		timer := time.NewTimer(min(wait, longestSleep))
		select {
		case <-timer.C:
		case <-t.wake:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// next returns the tick that is to be delivered next, and how long it is until then. Those that were missed are passed
// over, but for the last one if that is wanted.
func (c *Consumer) next(t *ticks, now time.Time) (due time.Time, wait time.Duration) {
	due = c.config.Schedule.Next(t.after)
	if due.IsZero() {
		return due, longestSleep // there is none within years
	}
	missed := 0
	for due.Before(now.Add(-lateness)) {
		following := c.config.Schedule.Next(due)
		if c.config.Once && (following.IsZero() || following.After(now)) {
			c.config.Logger.Info("a tick was missed, and is done late", "due", due, "missed", missed)
			return due, 0
		}
		t.after, due = due, following
		missed++
	}
	if missed > 0 && !c.config.Once {
		c.config.Logger.Warn("ticks were missed, and are skipped", "count", missed, "next", due)
	}
	return due, due.Sub(now)
}

func (t *ticks) takeAgain() (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.again) == 0 {
		return time.Time{}, false
	}
	due := t.again[0]
	t.again = t.again[1:]
	return due, true
}

func (t *ticks) giveBack(due time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.again = append(t.again, due)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// content of a message whose content the file does not set.
type content struct {
	Scheduled time.Time `json:"scheduled"`
	Fired     time.Time `json:"fired"`
}

func (c *Consumer) delivery(t *ticks, due time.Time) *adapter.Delivery {
	now := time.Now()
	text := []byte(c.config.Content)
	if len(text) == 0 {
		// Two times: they can be written.
		text, _ = json.Marshal(content{Scheduled: due, Fired: now})
	}
	part := service.NewMessage(text)
	part.MetaSetMut("cron_scheduled", due.Format(time.RFC3339))
	part.MetaSetMut("cron_fired", now.Format(time.RFC3339))
	part.MetaSetMut("cron_late", fmt.Sprint(now.Sub(due) > lateness))
	var once sync.Once
	return &adapter.Delivery{
		MessageID: c.config.Path + "@" + due.UTC().Format(time.RFC3339),
		Batch:     message.NewBatch(service.MessageBatch{part}),
		Settle: func(_ context.Context, failure error) (err error) {
			once.Do(func() {
				if failure != nil {
					t.giveBack(due)
					return
				}
				err = c.noteDone(t, due)
			})
			return err
		},
	}
}

// noteDone remembers the last tick that was done here, for the next start of this node.
func (c *Consumer) noteDone(t *ticks, due time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !due.After(t.done) {
		return nil
	}
	t.done = due
	if !c.config.Once || c.config.StateFile == "" {
		return nil
	}
	err := os.MkdirAll(filepath.Dir(c.config.StateFile), 0o700)
	if err == nil {
		err = durable.WriteFile(c.config.StateFile, []byte(due.UTC().Format(time.RFC3339)+"\n"))
	}
	if err != nil {
		return fmt.Errorf("%s: remember the last tick: %w", c.config.Path, err)
	}
	return nil
}

func (c *Consumer) readState() (time.Time, error) {
	if c.config.StateFile == "" {
		return time.Time{}, nil
	}
	text, err := os.ReadFile(c.config.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("the last tick: %w", err)
	}
	done, err := time.Parse(time.RFC3339+"\n", string(text))
	if err != nil {
		// Not worth a standstill: the mirror knows what was done, too.
		c.config.Logger.Warn("the last tick that was done cannot be read, and is taken for unknown", "file", c.config.StateFile, "error", err)
		return time.Time{}, nil
	}
	return done, nil
}

// Close ends it.
func (c *Consumer) Close(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = nil
	return nil
}

// Redelivers is false: the mirror replays a tick that was under way.
func (c *Consumer) Redelivers() bool { return false }
