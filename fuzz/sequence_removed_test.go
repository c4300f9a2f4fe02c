package fuzz

import (
	"errors"
	"io/fs"
	"path"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// Somebody removes or renames the database while a process has it open, and
// another process makes a new one under its name. What the first one still does
// must leave the log of the second one alone, whichever it does first: begin
// another segment, release old ones, or close.
func TestSequenceFileRemovedWhileOpenAndMadeAnew(t *testing.T) {
	for _, renamed := range []bool{false, true} {
		for _, does := range []string{"commits", "checkpoints", "closes", "dies"} {
			t.Run(does, func(t *testing.T) {
				first := newScene(t)
				first.must(first.open())
				for range 4 {
					first.commits(8)
					first.must(first.checkpoint())
				}
				first.takeAway(renamed)

				second := newScene(t)
				second.onto(first.mem)
				second.world.rng.Uint64() // other salts and another id
				second.must(second.open())
				second.commits(20)
				first.goOn(does)
				second.commits(20)
				second.must(second.check())
				first.goOn("closes")

				second.die()
				second.reads()
				second.commits(2)
				second.must(second.close())
			})
		}
	}
}

// takeAway removes or renames the file and removes its log.
func (s *scene) takeAway(renamed bool) {
	s.t.Helper()
	if renamed {
		s.must(s.mem.Rename(worldPath, "other.pod"))
	} else {
		s.must(s.mem.Remove(worldPath))
	}
	dir := worldPath + ".wal"
	names, err := s.mem.List(dir)
	s.must(err)
	for _, n := range names {
		s.must(s.mem.Remove(path.Join(dir, n)))
	}
	s.must(s.mem.Remove(dir))
}

// goOn does something with a database that was taken away.
func (s *scene) goOn(what string) {
	s.t.Helper()
	if s.s == nil {
		return
	}
	var err error
	switch what {
	case "commits": // until the log wants another segment
		for range 1000 {
			if err = s.oneCommit(); err != nil {
				break
			}
		}
		if !errors.Is(err, dberr.ErrPoisoned) || errors.Is(err, dberr.ErrCommitUnknown) {
			s.t.Errorf("commits into a file that was taken away end with %v", err)
		}
	case "checkpoints":
		for err == nil { // until there is log to release
			if err = s.oneCommit(); err == nil {
				err = s.s.Checkpoint(s.ctx)
			}
		}
	case "closes":
		err = s.close()
	case "dies":
		killed := s.s
		s.s = nil
		s.t.Cleanup(func() { _ = killed.Close() })
		return
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, dberr.ErrPoisoned) {
		s.t.Errorf("after the file was taken away: %s: %v", what, err)
	}
}
