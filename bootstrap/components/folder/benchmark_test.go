package folder_test

import (
	"fmt"
	"testing"
)

// BenchmarkFiles moves files of 1 KiB from folder to folder, one at a time.
func BenchmarkFiles(b *testing.B) {
	for _, sync := range []bool{false, true} {
		b.Run(fmt.Sprintf("fsync=%t", sync), func(b *testing.B) {
			in, out := b.TempDir(), b.TempDir()
			content := string(make([]byte, 1024))
			for i := range b.N {
				write(b, join(in, fmt.Sprintf("f%09d", i)), content)
			}
			config := producerConfig(out)
			config.Sync = sync
			producer := openProducer(b, config)
			b.ResetTimer()
			consumer := openConsumer(b, consumerConfig(in))
			ctx := b.Context()
			for range b.N {
				delivery, err := consumer.Receive(ctx)
				must(b, err)
				delivery.Batch.SetMeta("message-id", delivery.MessageID)
				delivery.Batch.SetMeta("term", "1:a")
				must(b, producer.Produce(ctx, delivery.Batch))
				must(b, delivery.Settle(ctx, nil))
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
}

// BenchmarkConsume takes and deletes empty files.
func BenchmarkConsume(b *testing.B) {
	in := b.TempDir()
	for i := range b.N {
		write(b, join(in, fmt.Sprintf("f%09d", i)), "")
	}
	b.ResetTimer()
	consumer := openConsumer(b, consumerConfig(in))
	for range b.N {
		delivery, err := consumer.Receive(b.Context())
		must(b, err)
		must(b, delivery.Settle(b.Context(), nil))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
}
