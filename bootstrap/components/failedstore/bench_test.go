package failedstore_test

import (
	"fmt"
	"testing"
)

// What a takeover waits for: the list of a store with many messages.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{100, 2000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			store := open(b, b.TempDir(), generousFor(n))
			for i := range n {
				if err := store.Put(b.Context(), failed(b, fmt.Sprint("message-", i), "content")); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if list, err := store.List(b.Context()); err != nil || len(list) != n {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

// What a message that fails waits for.
func BenchmarkPut(b *testing.B) {
	store := open(b, b.TempDir(), generousFor(1_000_000))
	i := 0
	for b.Loop() {
		if err := store.Put(b.Context(), failed(b, fmt.Sprint("message-", i), "content")); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
