package fuzz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// lives is a database that is crashed again and again, each time after it has
// recovered and worked on, now and then with a sync that failed before. What
// the crash campaign cannot see, because nothing is committed after its
// crashes, is seen here: log released too early, space reused that a
// fallen-back meta needs, segments that begin in a recovery.
type lives struct {
	ctx   context.Context
	rng   *rand.Rand
	mem   *vfs.MemFS
	p     *program
	o     outcome
	steps string // what happened, for the message
}

// session opens the database and works until the crash or for some saves.
func (l *lives) session() error {
	open := func() (*db.DB, *db.Namespace, error) {
		d, err := db.Open(l.ctx, "crash.pod", seededOptions(l.mem, l.rng.Uint64()))
		if err != nil {
			return nil, nil, err
		}
		head, err := d.Head(l.ctx, "main")
		if err != nil {
			return d, nil, err
		}
		if head < l.o.acked || head > l.o.begun {
			return d, nil, fmt.Errorf("LOST: head is %d, want from acknowledged %d to begun %d", head, l.o.acked, l.o.begun)
		}
		l.o.acked, l.o.begun = head, head
		ns, err := d.Namespace(l.ctx, "main")
		if err != nil {
			return d, nil, err
		}
		return d, ns, l.p.adopt(l.ctx, ns)
	}
	d, ns, err := open()
	defer func() {
		if d != nil {
			_ = d.Close()
		}
	}()
	if err != nil {
		return err
	}
	for range 3 + l.rng.IntN(12) {
		l.p.step()
		if err := l.p.bind(l.ctx, ns); err != nil {
			return err
		}
		next := l.o.acked + 1
		l.o.begun, l.o.texts[next] = next, text(l.p.vars)
		v, err := ns.Save(l.ctx)
		if err != nil {
			return err
		}
		if v == l.o.acked {
			l.o.begun = v
			delete(l.o.texts, next)
		}
		l.o.acked = v
		switch l.rng.IntN(8) {
		case 0, 1:
			err = d.Checkpoint(l.ctx)
		case 2:
			if err = d.Close(); err == nil {
				d, ns, err = open()
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// crash ends a session and goes on with one of the images it may leave. One
// time in three the machine stays up and only the process dies.
func (l *lives) crash() {
	kind, seed := vfs.CrashKind(l.rng.IntN(int(vfs.CrashMix)+1)), l.rng.Uint64()
	if l.rng.IntN(3) == 0 {
		l.mem = l.mem.Restart()
		l.steps += ", killed"
		return
	}
	l.mem = l.mem.Crash(kind, seed)
	l.steps += fmt.Sprintf(", %v %d", kind, seed)
}

func (l *lives) run(crashes int) error {
	for range crashes {
		at := 1 + l.rng.IntN(120)
		l.steps += fmt.Sprintf("; crash at %d", at)
		l.mem.CrashAt(l.mem.Ops() + at)
		if l.rng.IntN(4) == 0 {
			n := 1 + l.rng.IntN(25)
			l.mem.FailSync(n)
			l.steps += fmt.Sprintf(", sync %d fails", n)
		}
		if err := l.session(); err != nil && !errors.Is(err, vfs.ErrCrashed) && !errors.Is(err, syscall.EIO) {
			return err
		}
		l.crash()
		if _, err := check(l.ctx, l.mem.Crash(vfs.CrashKeepAll, 0), l.o); err != nil {
			return err
		}
	}
	return nil
}

const (
	livesDefault = 120
	crashesEach  = 6
)

// TestCrashAfterCrash crashes databases again and again at random operations,
// with more work after each recovery. After every crash the state is that of a
// commit from the last acknowledged to the last begun, all older versions read
// as they were, and Verify is clean.
func TestCrashAfterCrash(t *testing.T) {
	t.Parallel()
	n := livesDefault
	if *flagImages > 0 {
		n = max(1, *flagImages/crashesEach/10)
	}
	lost, corrupt, commits := 0, 0, 0
	for i := range n {
		l := &lives{
			ctx: context.Background(), rng: rand.New(rand.NewPCG(*flagSeed, uint64(i))), mem: vfs.NewMem(),
			p: newProgram(*flagSeed*1_000_003 + uint64(i)), o: outcome{texts: map[db.Version]string{0: text(nil)}},
		}
		err := l.run(crashesEach)
		commits += int(l.o.acked)
		if err == nil {
			continue
		}
		if errors.Is(err, db.ErrCorrupt) {
			corrupt++
		} else {
			lost++
		}
		t.Errorf("life %d%s: %v\n%s", i, l.steps, err, replay(t, "-images %d # life %d", n*crashesEach*10, i))
		if lost+corrupt > 3 {
			break
		}
	}
	t.Logf("CAMPAIGN name=crashagain seed=%d lives=%d images=%d commits=%d lost=%d corrupt=%d", *flagSeed, n, n*crashesEach, commits, lost, corrupt)
	if commits < n*crashesEach {
		t.Errorf("only %d commits in %d lives: the campaign proves nothing", commits, n)
	}
}

// TestCrashOfRestore cuts the power at every operation of a restore. There is no
// file then, or the whole database; and the next restore, or the next opening,
// works.
func TestCrashOfRestore(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.must(s.open())
	s.commits(8)
	var backup bytes.Buffer
	_, err := s.s.Backup(s.ctx, &backup, nil)
	s.must(err)
	s.must(s.close())
	for n := 1; ; n++ {
		mem := vfs.NewMem()
		mem.CrashAt(n)
		err := mvcc.Restore(s.ctx, mem, bytes.NewReader(backup.Bytes()), worldPath)
		for i, img := range imagesOf(mem, 3, *flagSeed*100+uint64(n)) {
			_, missing := img.Stat(worldPath)
			if err == nil && missing != nil {
				t.Fatalf("operation %d, image %d: a restored file is gone", n, i)
			}
			if missing != nil {
				if err := mvcc.Restore(s.ctx, img, bytes.NewReader(backup.Bytes()), worldPath); err != nil {
					t.Fatalf("operation %d, image %d: restoring again: %v", n, i, err)
				}
			}
			again := newScene(t)
			again.onto(img)
			again.m = s.m.clone()
			if err := again.open(); err != nil {
				t.Fatalf("operation %d, image %d: %v", n, i, err)
			}
			again.must(again.check())
			again.must(again.close())
		}
		if !mem.Crashed() {
			return
		}
	}
}
