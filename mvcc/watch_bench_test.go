package mvcc

import (
	"context"
	"fmt"
	"testing"
)

// What watchers cost a commit: those whose loops stand still (slow) nothing but to be counted, those
// that wait (quick) their own work, on the same processors.
func BenchmarkCommitWatched(b *testing.B) {
	for _, n := range []int{0, 1, 100} {
		for _, slow := range []bool{true, false} {
			if n == 0 && !slow {
				continue
			}
			b.Run(fmt.Sprintf("watchers=%d/slow=%v", n, slow), func(b *testing.B) {
				s := mustOpen(b, testOptions(newFS(b)))
				defer s.Close()
				id, v, err := commitBox(b, s, MainBranch, "x", 0, "first")
				if err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				for range n {
					w := must(s.Watch(ctx, MainBranch, v))(b)
					if slow {
						defer w.Close()
						continue
					}
					go func() {
						defer w.Close()
						for {
							if _, err := w.Next(ctx); err != nil {
								return
							}
						}
					}()
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, _, err := commitBox(b, s, MainBranch, "x", id, fmt.Sprint(i)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
