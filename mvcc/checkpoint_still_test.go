package mvcc

import (
	"testing"
	"time"
)

// Who freezes the overlay at the moment when a checkpoint drops the frozen one
// must not change what that checkpoint is known to have written: the next batch
// of the page file would name a log position that its tree has not reached, and
// the log up to there would go.
func TestFreezeBesideTheEndOfACheckpoint(t *testing.T) {
	o := testOptions(newFS(t))
	now, hook := o.Now, func() {}
	o.Now = func() time.Time { hook(); return now() }
	s := mustOpen(t, o)
	id, _, err := commitBox(t, s, MainBranch, "x", 0, "a")
	if err != nil {
		t.Fatal(err)
	}
	still := make(chan error, 1)
	calls := 0
	hook = func() {
		if calls++; calls != 2 { // the second one comes when the overlay is frozen
			return
		}
		hook = func() {}
		if _, _, err := commitBox(t, s, MainBranch, "x", id, "b"); err != nil {
			t.Error(err)
		}
		s.applying.Lock()
		go func() {
			time.Sleep(20 * time.Millisecond) // the checkpoint waits to drop what it wrote
			go func() {
				v, _, err := s.stillView()
				if err == nil {
					v.close()
				}
				still <- err
			}()
			time.Sleep(20 * time.Millisecond) // and this behind it
			// Whoever wakes, finds the lock taken again, and waited long, makes the
			// lock go from hand to hand: the checkpoint rests when it lets go.
			s.applying.Unlock()
			s.applying.Lock()
			time.Sleep(5 * time.Millisecond)
			s.applying.Unlock()
		}()
	}
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	if err := <-still; err != nil {
		t.Fatal(err)
	}
	if done, has := s.check.done.Load(), s.pager.State().LogPos; done != has {
		t.Errorf("the last checkpoint is believed to have the log up to %d, the page file has it up to %d", done, has)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
