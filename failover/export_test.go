package failover

// IsRefused is for tests.
var IsRefused = isRefused
