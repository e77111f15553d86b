// Package httpserver is the HTTP server that the http_server consumers of an adapter share. It listens while at least
// one of them is open, so on the master only.
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/components/document"
)

// Config is what a Server is made from.
type Config struct {
	Address string
	// CertFile and KeyFile are for TLS; both or none.
	CertFile, KeyFile string
	// ReadHeaderTimeout bounds how long a client may take for the head of a request.
	ReadHeaderTimeout time.Duration
	Logger            *slog.Logger
}

// ReadConfig reads the options; relative paths begin at dir. What is wrong stays in fields.
func ReadConfig(fields *document.Fields, dir string) Config {
	config := Config{
		Address:           fields.Required("address", "0.0.0.0:8080"),
		CertFile:          fields.Text("cert-file", ""),
		KeyFile:           fields.Text("key-file", ""),
		ReadHeaderTimeout: fields.Duration("read-header-timeout", 10*time.Second, time.Millisecond),
	}
	if _, _, err := net.SplitHostPort(config.Address); err != nil && config.Address != "" {
		fields.Fault("address", "%q: want host:port, say 0.0.0.0:8080", config.Address)
	}
	if (config.CertFile == "") != (config.KeyFile == "") {
		fields.Fault("cert-file", "cert-file and key-file belong together; want both or none")
	}
	for _, path := range []*string{&config.CertFile, &config.KeyFile} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	if config.CertFile != "" && config.KeyFile != "" {
		if _, err := tls.LoadX509KeyPair(config.CertFile, config.KeyFile); err != nil {
			fields.Fault("cert-file", "%v", err)
		}
	}
	return config
}

// Server is safe for concurrent use.
type Server struct {
	config  Config
	handler http.Handler

	mu sync.Mutex
	// users are how many have acquired it; server is set while there are any. Guarded by mu.
	users  int
	server *http.Server
	served chan error
	addr   net.Addr
}

// New opens nothing.
func New(config Config, handler http.Handler) *Server {
	return &Server{config: config, handler: handler}
}

// Acquire lets it listen, if it does not yet.
func (s *Server) Acquire() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users > 0 {
		s.users++
		return nil
	}
	server := &http.Server{Handler: s.handler, ReadHeaderTimeout: s.config.ReadHeaderTimeout}
	server.ErrorLog = slog.NewLogLogger(s.config.Logger.With("component", "http").Handler(), slog.LevelWarn)
	if s.config.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(s.config.CertFile, s.config.KeyFile)
		if err != nil {
			return fmt.Errorf("http: certificate: %w", err)
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	}
	listener, err := net.Listen("tcp", s.config.Address)
	if err != nil {
		return fmt.Errorf("http: address %s: %w", s.config.Address, err)
	}
	served := make(chan error, 1)
	go func() { // Release waits for it
		if server.TLSConfig != nil {
			served <- server.ServeTLS(listener, "", "")
			return
		}
		served <- server.Serve(listener)
	}()
	s.users, s.server, s.served, s.addr = 1, server, served, listener.Addr()
	return nil
}

// Address is where it listens, nil if it does not.
func (s *Server) Address() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		return nil
	}
	return s.addr
}

// Release ends the listening with the last one who has acquired it. Requests under way are finished until ctx ends, the
// rest is cut off.
func (s *Server) Release(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("http: requests were cut off: %w", err), s.server.Close())
	}
	if ended := <-s.served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	s.server, s.served = nil, nil
	return err
}
