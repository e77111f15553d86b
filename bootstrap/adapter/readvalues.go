package adapter

import (
	"math"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// The defaults of retry and of the failed-message store.
const (
	defaultRetries        = 3
	defaultRetryDelay     = 100 * time.Millisecond
	defaultRetryMaxDelay  = 30 * time.Second
	defaultRetryFactor    = 2
	defaultRestartAfter   = 10
	defaultFailedMessages = 10_000
	defaultFailedBytes    = 1 << 30

	maxThrottle       = 1_000_000_000
	maxSlices         = 10_000
	maxFailedMessages = 1_000_000
	maxPause          = 24 * time.Hour
)

// retry reads retry, or its short form retries.
func (r *reader) retry(v values, path string) Retry {
	retry := Retry{
		Max:   r.number(v, path, "retries", defaultRetries, 0, maxRetries),
		Delay: defaultRetryDelay, MaxDelay: defaultRetryMaxDelay, Factor: defaultRetryFactor,
	}
	n, ok := v["retry"]
	if !ok {
		return retry
	}
	path += ".retry"
	if short, both := v["retries"]; both {
		r.fault(short, path, "retries is the short form of retry.max, and both are set; want one of them")
	}
	own := r.mapping(n, path, "max", "delay", "max-delay", "factor", "steps")
	retry.Max = r.number(own, path, "max", defaultRetries, 0, maxRetries)
	retry.Delay, retry.MaxDelay = r.delays(n, own, path, defaultRetryDelay, defaultRetryMaxDelay)
	retry.Factor = r.decimal(own, path, "factor", defaultRetryFactor, 1, 100)
	retry.Services = r.word(own, path, "steps", "producer", "all") == "all"
	return retry
}

// delays reads delay and max-delay, of which the second is never the shorter one.
func (r *reader) delays(at *yaml.Node, v values, path string, standard, longest time.Duration) (delay, maxDelay time.Duration) {
	delay = r.duration(v, path, "delay", standard, time.Millisecond)
	maxDelay = r.duration(v, path, "max-delay", max(longest, delay), time.Millisecond)
	if maxDelay < delay {
		r.fault(at, path+".max-delay", "%s is shorter than delay, which is %s", maxDelay, delay)
	}
	return delay, maxDelay
}

// restart reads restart.
func (r *reader) restart(v values, path string) Restart {
	restart := Restart{After: defaultRestartAfter, Delay: time.Second, MaxDelay: time.Minute, Window: 10 * time.Minute}
	n, ok := v["restart"]
	if !ok {
		return restart
	}
	path += ".restart"
	own := r.mapping(n, path, "after", "delay", "max-delay", "max", "window", "then")
	restart.After = r.number(own, path, "after", restart.After, 0, maxRetries)
	restart.Delay, restart.MaxDelay = r.delays(n, own, path, restart.Delay, restart.MaxDelay)
	restart.Max = r.number(own, path, "max", 0, 0, maxRetries)
	restart.Window = r.duration(own, path, "window", restart.Window, time.Second)
	restart.GiveUp = r.word(own, path, "then", "stop", "give-up") == "give-up"
	return restart
}

// throttle reads throttle.
func (r *reader) throttle(v values, path string) Throttle {
	n, ok := v["throttle"]
	if !ok {
		return Throttle{}
	}
	path += ".throttle"
	own := r.mapping(n, path, "count", "per", "burst")
	if _, given := own["count"]; own != nil && !given {
		r.fault(n, path+".count", "missing; want how many messages there may be, say {count: 100, per: 1s}")
	}
	return Throttle{
		Count: r.number(own, path, "count", 1, 1, maxThrottle), Burst: r.number(own, path, "burst", 1, 1, maxThrottle),
		Per: r.duration(own, path, "per", time.Second, time.Millisecond),
	}
}

// metrics reads metrics.
func (r *reader) metrics(v values, path string) MetricsConfig {
	n, ok := v["metrics"]
	if !ok {
		return MetricsConfig{}
	}
	path += ".metrics"
	own := r.mapping(n, path, "slice", "slices")
	return MetricsConfig{
		Slice: r.duration(own, path, "slice", 10*time.Second, time.Second), Slices: r.number(own, path, "slices", 100, 1, maxSlices),
	}
}

// failed reads the limits of the failed-message store.
func (r *reader) failed(v values, path string) FailedConfig {
	cfg := FailedConfig{MaxMessages: defaultFailedMessages, MaxBytes: defaultFailedBytes}
	n, ok := v["failed"]
	if !ok {
		return cfg
	}
	own := r.mapping(n, path, "max-messages", "max-size")
	cfg.MaxMessages = r.number(own, path, "max-messages", defaultFailedMessages, 1, maxFailedMessages)
	cfg.MaxBytes = r.size(own, path, "max-size", defaultFailedBytes)
	return cfg
}

func (r *reader) duration(v values, path, key string, standard, low time.Duration) time.Duration {
	n, ok := v[key]
	if !ok {
		return standard
	}
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || d < low || d > maxPause {
		r.fault(n, path+"."+key, "%s is not allowed; want a duration from %s to %s, say 200ms or 5s", show(n), low, maxPause)
		return standard
	}
	return d
}

func (r *reader) decimal(v values, path, key string, standard, low, high float64) float64 {
	n, ok := v[key]
	if !ok {
		return standard
	}
	f, err := strconv.ParseFloat(n.Value, 64)
	if n.Kind != yaml.ScalarNode || err != nil || !(f >= low && f <= high) {
		r.fault(n, path+"."+key, "%s is not allowed; want a number from %g to %g", show(n), low, high)
		return standard
	}
	return f
}

// size reads what ParseSize does.
func (r *reader) size(v values, path, key string, standard int64) int64 {
	n, ok := v[key]
	if !ok {
		return standard
	}
	if n.Kind == yaml.ScalarNode {
		if size, ok := ParseSize(n.Value); ok {
			return size
		}
	}
	r.fault(n, path+"."+key, "%s is not allowed; want a size above 0, say 4096, 64MiB or 1GiB", show(n))
	return standard
}

// ParseSize reads a number of bytes above 0, with or without a unit: 4096, 10kB, 64MiB.
func ParseSize(text string) (size int64, ok bool) {
	units := []struct {
		suffix string
		factor int64
	}{
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
		{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
	}
	factor := int64(1)
	for _, unit := range units {
		if number, found := strings.CutSuffix(text, unit.suffix); found {
			text, factor = strings.TrimSpace(number), unit.factor
			break
		}
	}
	size, err := strconv.ParseInt(text, 10, 64)
	if err != nil || size <= 0 || size > math.MaxInt64/factor {
		return 0, false
	}
	return size * factor, true
}
