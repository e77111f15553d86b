package folder

import "sync"

// Claims are the files that consumers of one process have in hand, so that none of them takes a .wip file of another
// for one of a dead process. A nil Claims knows of none. It is safe for concurrent use.
type Claims struct {
	mu     sync.Mutex
	owners map[string]*scan // guarded by mu; by the path of the .wip file
}

// NewClaims returns an empty one.
func NewClaims() *Claims { return &Claims{owners: map[string]*scan{}} }

func (c *Claims) take(path string, owner *scan) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owners[path] = owner
}

func (c *Claims) leave(path string, owner *scan) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owners[path] == owner {
		delete(c.owners, path)
	}
}

// leaveAll is for a consumer that is closed.
func (c *Claims) leaveAll(owner *scan) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, o := range c.owners {
		if o == owner {
			delete(c.owners, path)
		}
	}
}

// taken says whether somebody else has the file.
func (c *Claims) taken(path string, by *scan) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	owner, found := c.owners[path]
	return found && owner != by
}
