//go:build unix

package podder

import (
	"testing"

	"golang.org/x/sys/unix"
)

// cpuSeconds is the processor time that this process has used, collector
// included: on a shared machine the clock says little.
func cpuSeconds() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// reportCPU reports processor time: what was done, each second, and how long
// one took.
func reportCPU(b *testing.B, since float64, what string, done int) {
	sec := cpuSeconds() - since
	b.ReportMetric(sec*1e9/float64(done), "cpu-ns/"+what)
}
