package peer

import (
	"crypto/tls"
	"net"
	"time"
)

// Handshake connects two nodes that have these keys.
func Handshake(one, two []Key) error {
	here, err := newIdentity(one, "one")
	if err != nil {
		return err
	}
	there, err := newIdentity(two, "two")
	if err != nil {
		return err
	}
	a, b := net.Pipe()
	for _, end := range []net.Conn{a, b} {
		// Who turns the other away says so, which it may not read.
		if err := end.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			return err
		}
	}
	served := make(chan error, 1)
	go func() {
		defer b.Close()
		served <- tls.Server(b, there.config()).Handshake()
	}()
	err = tls.Client(a, here.config()).Handshake()
	a.Close()
	if failed := <-served; err == nil {
		err = failed
	}
	return err
}
