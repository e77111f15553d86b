package benthos

import (
	"net/http"
	"runtime"
	"strings"
	"sync"
)

// Mux is an HTTP multiplexer for inputs and outputs without an address of their own. It differs from an
// http.ServeMux, which Benthos is made for, in what happens when a path is registered again: ServeMux panics,
// and an http_server input does register its path again, for an answer that says it is closed, from a goroutine
// that runs at some time after the input has closed. It may well have been opened again by then, for the next
// mastership. So a path changes hands only when a component is built; a closed input says by itself that it is.
// It is safe for concurrent use.
type Mux struct {
	mu       sync.RWMutex
	handlers map[string]http.HandlerFunc // guarded by mu
}

// HandleFunc registers a handler for exactly this path.
func (m *Mux) HandleFunc(path string, handler func(http.ResponseWriter, *http.Request)) {
	building := calledBy("." + buildFunction)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.handlers == nil {
		m.handlers = map[string]http.HandlerFunc{}
	}
	if _, taken := m.handlers[path]; !taken || building {
		m.handlers[path] = handler
	}
}

// ServeHTTP calls the handler of the request's path.
func (m *Mux) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	m.mu.RLock()
	handler, found := m.handlers[request.URL.Path]
	m.mu.RUnlock()
	if !found {
		http.NotFound(w, request)
		return
	}
	handler(w, request)
}

// calledBy says whether a function with this ending is on the caller's stack. Benthos tells a multiplexer
// nothing of who registers; that it happens while a component is built is the one difference there is.
func calledBy(function string) bool {
	counters := make([]uintptr, 64)
	for skip := 2; ; skip += len(counters) {
		n := runtime.Callers(skip, counters)
		frames := runtime.CallersFrames(counters[:n])
		for more := n > 0; more; {
			var frame runtime.Frame
			frame, more = frames.Next()
			if strings.HasSuffix(frame.Function, function) {
				return true
			}
		}
		if n < len(counters) {
			return false
		}
	}
}
