package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The functions below make the set field of a key. What they check is in their name, what is allowed in their
// errors. field is nil for keys that only a plugin reads.

type setter = func(c *Config, value string) error

func checked(check func(string) error) setter {
	return func(_ *Config, value string) error { return check(value) }
}

func text(check func(string) error, field func(*Config) *string) setter {
	return func(c *Config, value string) error {
		if err := check(value); err != nil {
			return err
		}
		*field(c) = value
		return nil
	}
}

func choice[T ~string](field func(*Config) *T, allowed ...T) setter {
	return func(c *Config, value string) error {
		if !slices.Contains(allowed, T(value)) {
			return fmt.Errorf("%s is not allowed; want %s", quoted(value), orList(allowed))
		}
		if field != nil {
			*field(c) = T(value)
		}
		return nil
	}
}

func number(least, most int, field func(*Config) *int) setter {
	return func(c *Config, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < least || n > most {
			return fmt.Errorf("%s is not allowed; want a whole number from %d to %d", quoted(value), least, most)
		}
		if field != nil {
			*field(c) = n
		}
		return nil
	}
}

func duration(least, most time.Duration, field func(*Config) *time.Duration) setter {
	return func(c *Config, value string) error {
		d, err := parseDuration(value)
		if err != nil {
			return err
		}
		switch {
		case d < least:
			return fmt.Errorf("%s is too short; the least is %s", quoted(value), least)
		case d > most:
			return fmt.Errorf("%s is too long; the most is %s", quoted(value), most)
		}
		if field != nil {
			*field(c) = d
		}
		return nil
	}
}

// parseDuration reads a bare number as milliseconds, as Interlok's files have it, and Go's form else.
func parseDuration(value string) (time.Duration, error) {
	if ms, err := strconv.ParseInt(value, 10, 64); err == nil {
		if ms > math.MaxInt64/int64(time.Millisecond) || ms < math.MinInt64/int64(time.Millisecond) {
			return 0, fmt.Errorf("%s milliseconds are out of range", value)
		}
		return time.Duration(ms) * time.Millisecond, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		return 0, fmt.Errorf("%s is not a duration; want milliseconds (1500), or a number with a unit (1.5s, 200ms, 2m)",
			quoted(value))
	}
	return d, nil
}

func multicastGroup(value string) error {
	addr, err := netip.ParseAddr(value)
	if err != nil || !addr.Is4() || !addr.IsMulticast() {
		return fmt.Errorf("%s is not a multicast group; want an IPv4 address from 224.0.0.0 to 239.255.255.255",
			quoted(value))
	}
	return nil
}

func listenAddress(value string) error {
	if value == "" {
		return nil
	}
	wrong := fmt.Errorf("%s is not an address; want host:port, say 10.0.0.7:0 or [fd00::7]:4447", quoted(value))
	host, port, err := net.SplitHostPort(value)
	if err != nil || strings.ContainsFunc(host, unicode.IsSpace) {
		return wrong
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return wrong
	}
	return nil
}

// checkName checks a node id. It stands in terms (7:orders-1), file names and metric labels.
func checkName(value string) error {
	if strings.Trim(value, nameBytes) != "" || len(value) > 64 {
		return fmt.Errorf("%s is not allowed; want at most 64 letters, digits, dots, dashes and underscores", quoted(value))
	}
	return nil
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

// checkTitle checks what is shown to people and compared, nothing else.
func checkTitle(value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) || len(value) > 128 {
		return fmt.Errorf("%s is not allowed; want at most 128 bytes of printable text", quoted(value))
	}
	return reference(value)
}

func checkPath(value string) error {
	if value == "" {
		return errors.New("is empty; want a path")
	}
	if strings.ContainsFunc(value, unicode.IsControl) {
		return fmt.Errorf("%s is not a path: it has control characters", quoted(value))
	}
	return reference(value)
}

func optionalPath(value string) error {
	if value == "" {
		return nil
	}
	return checkPath(value)
}

// reference refuses ${...}: whoever writes it expects it to be replaced, and a folder of that name is worse
// than a fault. The other checks refuse it by themselves.
func reference(value string) error {
	if strings.Contains(value, "${") {
		return fmt.Errorf("%s: ${...} is not replaced here; write the value, or give it with -D", quoted(value))
	}
	return nil
}

// pluginNames splits the list of factories. A plugin is a file in lib.dir, never a way out of it.
func pluginNames(value string) ([]string, error) {
	var names []string
	for n := range strings.SplitSeq(value, ",") {
		n = strings.TrimSpace(n)
		if n == "" {
			continue
		}
		if strings.Trim(n, nameBytes) != "" || n[0] == '.' || n[0] == '-' {
			return nil, fmt.Errorf("%s is not the name of a plugin; want the name of a file in lib.dir, say failover",
				quoted(n))
		}
		names = appendNew(names, n)
	}
	return names, nil
}

func appendNew(list []string, item string) []string {
	if slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}

// quoted shows a value as it was given, cut to a length that leaves a message readable.
func quoted(value string) string {
	const most = 80
	if runes := []rune(value); len(runes) > most {
		return strconv.Quote(string(runes[:most])) + "..."
	}
	return strconv.Quote(value)
}

func orList[T ~string](items []T) string {
	var b strings.Builder
	for i, item := range items {
		switch {
		case i == 0:
		case i == len(items)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(item))
	}
	return b.String()
}
