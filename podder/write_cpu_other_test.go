//go:build !unix

package podder

import (
	"testing"
	"time"
)

// cpuSeconds is the clock where processor time is not to be had.
func cpuSeconds() float64 { return float64(time.Now().UnixNano()) / 1e9 }

func reportCPU(b *testing.B, since float64, what string, done int) {
	b.ReportMetric(float64(done)/(cpuSeconds()-since), what+"/s")
}
