package host_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/host"
)

// patient is a stage with a check whose answer the test sets.
type patient struct {
	*stage
	ill   atomic.Bool
	asked atomic.Int64
}

func examine(t *testing.T, onlyMaster, ill bool) *patient {
	t.Helper()
	p := &patient{}
	p.ill.Store(ill)
	p.stage = setStage(t, true, nil, func(_ *stage, opt *host.Options) {
		opt.Check = &host.CheckConfig{
			Interval: 5 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3, Cooldown: time.Minute, OnlyMaster: onlyMaster,
			Probe: func(context.Context) error {
				p.asked.Add(1)
				if p.ill.Load() {
					return errors.New("the database does not answer")
				}
				return nil
			},
		}
	})
	p.failover.know(fitPeer)
	return p
}

func (p *patient) stands(t *testing.T, want bool, reason string) {
	t.Helper()
	time.Sleep(300 * time.Millisecond) // a report of the host's
	synctest.Wait()
	if _, report, _ := p.failover.now(); report.CanLead != want || !strings.Contains(report.Reason, reason) {
		t.Errorf("stands: %v because %q; want %v, %q", report.CanLead, report.Reason, want, reason)
	}
}

func TestStandbyWhoseCheckFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := examine(t, false, true)
		p.stands(t, false, "its check fails: the database does not answer")
		p.ill.Store(false)
		time.Sleep(5 * time.Second) // one good answer is not enough
		p.stands(t, false, "its check fails")
		time.Sleep(5 * time.Second)
		p.stands(t, true, "")
		p.ill.Store(true)
		time.Sleep(10 * time.Second) // nor are two bad ones
		p.stands(t, true, "")
		time.Sleep(5 * time.Second)
		p.stands(t, false, "its check fails")
		p.end(t)
	})
}

// The first answer counts at once; before it the node does not stand.
func TestFirstAnswerOfACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		s := setStage(t, true, nil, func(_ *stage, opt *host.Options) {
			opt.Check = &host.CheckConfig{Interval: time.Hour, Timeout: time.Hour, Rise: 5, Fall: 5, Probe: func(ctx context.Context) error {
				select {
				case <-answer:
				case <-ctx.Done():
				}
				return nil
			}}
		})
		p := &patient{stage: s}
		p.stands(t, false, "has not been answered yet")
		close(answer)
		p.stands(t, true, "")
		s.end(t)
	})
}

func TestMasterWhoseCheckFails(t *testing.T) {
	for _, onlyMaster := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := examine(t, onlyMaster, false)
			p.stands(t, true, "")
			if asked := p.asked.Load(); onlyMaster && asked > 0 {
				t.Errorf("asked %d times while nothing ran", asked)
			}
			p.failover.promote(term7)
			p.expect(t, "lead 7:a", "start term=7:a in-flight=1")
			p.ill.Store(true)
			time.Sleep(9 * time.Second)
			p.expect(t)
			time.Sleep(7 * time.Second)
			p.expect(t, "stop gate-open=true", "follow", "resign 7:a")
			changes := p.reported()
			if last := changes[len(changes)-1]; last.What != host.Demotion || last.Reason != "its check fails: the database does not answer" {
				t.Errorf("report %+v", last)
			}
			p.ill.Store(false)
			time.Sleep(20 * time.Second)
			p.stands(t, false, "its check has failed; it stands for election again in")
			time.Sleep(time.Minute)
			p.stands(t, true, "")
			p.end(t)
		})
	}
}

// A check that hangs, or panics, is a bad answer.
func TestCheckThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setStage(t, true, nil, func(_ *stage, opt *host.Options) {
			first := true
			opt.Check = &host.CheckConfig{Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1, Probe: func(ctx context.Context) error {
				if first {
					first = false
					panic("oh")
				}
				<-ctx.Done()
				return ctx.Err()
			}}
		})
		p := &patient{stage: s}
		p.stands(t, false, "the check panicked: oh")
		time.Sleep(3 * time.Second)
		p.stands(t, false, "its check fails")
		s.end(t)
	})
}

func TestURLProbe(t *testing.T) {
	answer := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(answer) }))
	probe := host.URLProbe(server.URL + "/healthy")
	if err := probe(t.Context()); err != nil {
		t.Error(err)
	}
	answer = http.StatusServiceUnavailable
	if err := probe(t.Context()); err == nil || !strings.Contains(err.Error(), "answered 503") {
		t.Error(err)
	}
	server.Close()
	if err := probe(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}
