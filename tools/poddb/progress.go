package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress draws a bar on a terminal for work that takes longer than a
// second. Elsewhere it prints nothing.
type progress struct {
	w           io.Writer
	label       string
	start, last time.Time
	drawn       bool
}

func (e *env) progress(label string) *progress {
	p := &progress{label: label, start: time.Now()}
	if e.tty {
		p.w = e.err
	}
	return p
}

const (
	progressWidth = 40
	progressDelay = time.Second
	progressEvery = 80 * time.Millisecond
)

// set shows that done of total is done.
func (p *progress) set(done, total int) {
	now := time.Now()
	if p.w == nil || now.Sub(p.start) < progressDelay || (now.Sub(p.last) < progressEvery && done < total) {
		return
	}
	p.last, p.drawn = now, true
	full := 0
	if total > 0 {
		full = min(progressWidth, progressWidth*done/total)
	}
	fmt.Fprintf(p.w, "\r%s [%s%s] %d/%d", p.label, strings.Repeat("█", full), strings.Repeat("·", progressWidth-full), done, total)
}

// bytes is set for work that is counted in bytes.
func (p *progress) bytes(done, total int64) { p.set(int(done), int(total)) }

// items is set for work that is counted in things.
func (p *progress) items(done, total uint64) { p.set(int(done), int(total)) }

// clear removes the bar.
func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\033[K")
		p.drawn = false
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
