package main

import (
	"testing"
	"time"
)

// BenchmarkLatenessBesideNotices reports how late a thousand runs that are due together
// start while the receiver of their notices is in trouble, and without notices.
func BenchmarkLatenessBesideNotices(b *testing.B) {
	urls, _ := receiversInTrouble(b)
	urls["no"] = ""
	for name, url := range urls {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				late := latenessOfFailures(b, notifyOptions{SlackURL: url, HTTPURL: url, MattermostURL: url, drain: time.Millisecond})
				b.ReportMetric(float64(late[len(late)/2].Milliseconds()), "median-ms")
				b.ReportMetric(float64(late[len(late)*99/100].Milliseconds()), "p99-ms")
			}
		})
	}
}
