package host

import (
	"log/slog"
	"net"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// Tick runs one round of the gate's watch.
func (g *Gate) Tick() { g.tick() }

// LivenessSocket and the functions below are the liveness socket without a node around it.
type LivenessSocket = liveness

const MaxWatchers = maxWatchers

var ListenLiveness = listenLiveness

func ServeLiveness(listener net.Listener, at contract.Liveness, log *slog.Logger) *LivenessSocket {
	return serveLiveness(listener, at, at.Hello("a", "c"), log)
}

func (l *liveness) At() contract.Liveness { return l.at }
func (l *liveness) Close() error          { return l.close() }

func (l *liveness) Connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}
