package election

import "time"

// Takeover tells how a mastership came about.
type Takeover struct {
	Cause Cause
	// After is the term of the master that was missed; zero if there was none.
	After Term
	// Detection is from the last sign of life of that master to the suspicion, Wait from there to the claim, Claim
	// from there to the promotion.
	Detection, Wait, Claim time.Duration
	// Heard is how long ago each peer had been heard when the promotion came.
	Heard []Hearing
}

// Hearing is how long ago a node was heard.
type Hearing struct {
	ID  string
	Age time.Duration
	// Address is where it can be reached; only where nodes are introduced to each other.
	Address string
}
