package tcp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/failover"
)

// conn is one connection, dialled or accepted, after the hello. It reads on the goroutine of run, and writes what is in
// its outbox on another one.
type conn struct {
	net    net.Conn
	t      *Transport
	reader *bufio.Reader
	remote hello
	host   netip.Addr // where it really comes from
	out    *outbox

	ended chan struct{}
	once  sync.Once
	cause error // why it ended; read after ended
}

// greet says hello and hears one, the dialling side first: a listener tells nothing to who has said nothing.
func (t *Transport) greet(raw net.Conn, dialled bool) (*conn, error) {
	tune(raw)
	if err := raw.SetDeadline(time.Now().Add(t.timing.hello)); err != nil {
		return nil, err
	}
	c := &conn{net: raw, t: t, reader: bufio.NewReaderSize(raw, 4<<10), host: hostOf(raw), ended: make(chan struct{})}
	say := func() error {
		if _, err := raw.Write(appendHello(nil, t.hello())); err != nil {
			return fmt.Errorf("say hello: %w", err)
		}
		return nil
	}
	if dialled {
		if err := say(); err != nil {
			return nil, err
		}
	}
	remote, err := readHello(c.reader)
	if err != nil {
		return nil, err
	}
	if !dialled {
		if err := say(); err != nil {
			return nil, err
		}
	}
	c.remote = remote
	return c, raw.SetDeadline(time.Time{})
}

// tune bounds what the system keeps for a connection, and sends each datagram at once.
func tune(raw net.Conn) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(true)
		_ = tcp.SetReadBuffer(socketBuffer)
		_ = tcp.SetWriteBuffer(socketBuffer)
		tuneSystem(tcp, defaultTiming().silence)
	}
}

// hostOf is the IP address that a connection comes from; invalid if it has none.
func hostOf(raw net.Conn) netip.Addr {
	address, err := netip.ParseAddrPort(raw.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return address.Addr().Unmap().WithZone("")
}

// run moves datagrams until the connection ends, and says why it did.
func (c *conn) run() error {
	var writing sync.WaitGroup
	writing.Go(func() {
		if err := c.write(); err != nil {
			c.end(err)
		}
	})
	c.end(c.read())
	writing.Wait()
	return c.cause
}

// end ends the connection; the first cause counts.
func (c *conn) end(cause error) {
	c.once.Do(func() {
		c.cause = cause
		close(c.ended)
		if tcp, ok := c.net.(*net.TCPConn); ok && cause != nil && !errors.Is(cause, io.EOF) {
			_ = tcp.SetLinger(0) // Who does not read gets no memory of the system either.
		}
		_ = c.net.Close()
	})
}

func (c *conn) read() error {
	source := c.net.RemoteAddr().String()
	for {
		if err := c.net.SetReadDeadline(time.Now().Add(c.t.timing.silence)); err != nil {
			return err
		}
		length, sign, err := readLength(c.reader)
		if err != nil {
			return overdue(err, "it was silent for too long")
		}
		if sign {
			continue
		}
		if c.reader.Buffered() < length {
			// What has begun must be finished, however slowly it comes.
			if err := c.net.SetReadDeadline(time.Now().Add(c.t.timing.silence)); err != nil {
				return err
			}
		}
		datagram, err := readBody(c.reader, length)
		if err != nil {
			return overdue(err, "it sent a frame too slowly")
		}
		select {
		case <-c.t.draining: // Read on, so that closing does not destroy what is still on its way to the other side.
			continue
		default:
		}
		select {
		case c.t.packets <- failover.Packet{Data: datagram, Received: time.Now(), Source: source}:
		case <-c.t.draining:
		case <-c.ended:
			return net.ErrClosed
		}
	}
}

// write sends what is in the outbox, and signs of life when there is nothing, until the connection ends. When the
// transport is closing it sends what is left, then says that there will be no more.
func (c *conn) write() error {
	w := bufio.NewWriterSize(c.net, 4<<10)
	idle := time.NewTimer(c.t.timing.idle)
	defer idle.Stop()
	for {
		draining := false
		select {
		case <-c.out.ready:
		case <-idle.C:
			if err := c.send(w, nil, true); err != nil {
				return err
			}
		case <-c.t.draining:
			draining = true
		case <-c.ended:
			return nil
		}
		if err := c.empty(w); err != nil {
			return err
		}
		if draining {
			return closeWrite(c.net)
		}
		idle.Reset(c.t.timing.idle)
	}
}

// empty sends all that waits.
func (c *conn) empty(w *bufio.Writer) error {
	for {
		datagram, ok := c.out.pop()
		if !ok {
			return c.flush(w)
		}
		if err := c.send(w, datagram, false); err != nil {
			return err
		}
	}
}

// send puts one frame into the buffer, which may send it.
func (c *conn) send(w *bufio.Writer, datagram []byte, sign bool) error {
	if err := c.net.SetWriteDeadline(time.Now().Add(c.t.timing.write)); err != nil {
		return err
	}
	const slow = "it does not read what it is sent"
	if sign {
		return overdue(writeLifeSign(w), slow)
	}
	return overdue(writeFrame(w, datagram), slow)
}

func (c *conn) flush(w *bufio.Writer) error {
	if w.Buffered() == 0 {
		return nil
	}
	if err := c.net.SetWriteDeadline(time.Now().Add(c.t.timing.write)); err != nil {
		return err
	}
	return overdue(w.Flush(), "it does not read what it is sent")
}

// closeWrite says that there will be no more; what the other side still sends is read.
func closeWrite(raw net.Conn) error {
	if half, ok := raw.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}

// overdue gives a deadline that has passed its meaning.
func overdue(err error, meaning string) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s: %w", meaning, err)
	}
	return err
}
