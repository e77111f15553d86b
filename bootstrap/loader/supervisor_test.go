package loader_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/loader"
)

// stage launches fake plugins and notes what the supervisor does with them.
type stage struct {
	die      func()
	launches int
	// refuse is the error of a launch, by its number from 1; useless that of Up.
	refuse, useless func(launch int) error
	downs           []error
	ups             int
}

func (s *stage) launch(context.Context) (*loader.Plugin, error) {
	s.launches++
	if s.refuse != nil {
		if err := s.refuse(s.launches); err != nil {
			return nil, err
		}
	}
	return s.next(), nil
}

func (s *stage) next() *loader.Plugin {
	p, die := loader.FakePlugin("fake")
	s.die = die
	return p
}

func (s *stage) supervisor() *loader.Supervisor {
	return loader.NewSupervisor(s.next(), loader.DefaultRestart(), loader.Hooks{
		Down: func(err error) { s.downs = append(s.downs, err) },
		Up: func(context.Context, *loader.Plugin) error {
			s.ups++
			if s.useless != nil {
				if err := s.useless(s.launches); err != nil {
					s.die()
					return err
				}
			}
			return nil
		},
	}, s.launch)
}

func TestSupervisorStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{refuse: func(n int) error {
			if n == 1 {
				return errors.New("not yet")
			}
			return nil
		}}
		supervisor := s.supervisor()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- supervisor.Run(ctx) }()
		s.die()
		synctest.Wait()
		if len(s.downs) != 1 || !strings.Contains(s.downs[0].Error(), "ended by itself") || supervisor.State().Running != nil {
			t.Errorf("right after the death: down %v, state %+v", s.downs, supervisor.State())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		state := supervisor.State()
		if s.launches != 2 || s.ups != 1 || state.Running == nil || state.Restarts != 1 || !strings.Contains(state.LastError.Error(), "not yet") {
			t.Errorf("a second later: %d launches, %d up, state %+v", s.launches, s.ups, state)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.die()
	})
}

func TestSupervisorGivesUp(t *testing.T) {
	broken := errors.New("broken")
	for name, s := range map[string]*stage{
		"cannot be launched": {refuse: func(int) error { return broken }},
		"cannot be used":     {useless: func(int) error { return broken }},
	} {
		synctest.Test(t, func(t *testing.T) {
			supervisor := s.supervisor()
			s.die()
			err := supervisor.Run(t.Context())
			if !errors.Is(err, broken) || s.launches != 5 || !supervisor.State().GivenUp {
				t.Errorf("%s: %v after %d launches", name, err, s.launches)
			}
		})
	}
}

// Now and then is not too often.
func TestSupervisorForgivesWhatIsLongAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{}
		supervisor := s.supervisor()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- supervisor.Run(ctx) }()
		for range 20 {
			s.die()
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if s.launches != 20 {
			t.Errorf("%d launches, want 20", s.launches)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.die()
	})
}

func TestSupervisorLeavesAStoppedPluginAlone(t *testing.T) {
	library := open(t, loader.Options{Dir: lib(t, "agent"), Checksums: loader.Off})
	p := launch(t, library, "agent")
	supervisor := library.Supervise(p, loader.DefaultRestart(), loader.Hooks{
		Down: func(err error) { t.Errorf("down: %v", err) },
	})
	ended := make(chan error)
	go func() { ended <- supervisor.Run(t.Context()) }()
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestSupervisorOfAProcess(t *testing.T) {
	library := open(t, loader.Options{Dir: lib(t, "actor"), Checksums: loader.Off})
	first, up := launch(t, library, "actor"), make(chan *loader.Plugin)
	supervisor := library.Supervise(first, loader.DefaultRestart(), loader.Hooks{
		Down: func(error) {},
		Up: func(_ context.Context, p *loader.Plugin) error {
			up <- p
			return nil
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- supervisor.Run(ctx) }()
	if act(t.Context(), t, first, "exit") == nil {
		t.Error("it did not exit")
	}
	second := <-up
	if err := act(t.Context(), t, second, "nothing"); err != nil {
		t.Errorf("the second one: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
