package fuzz

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
)

// disk is the bytes of every file of a database.
type disk map[string][]byte

func diskOf(t *testing.T, fsys vfs.FS) disk {
	t.Helper()
	names := []string{"crash.pod"}
	logs, err := fsys.List("crash.pod.wal")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, n := range logs {
		names = append(names, path.Join("crash.pod.wal", n))
	}
	d := disk{}
	for _, n := range names {
		f, err := fsys.Open(n, 0)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := f.Size()
		b := make([]byte, size)
		if n, err := f.ReadAt(b, 0); n != len(b) {
			t.Fatal(err)
		}
		f.Close()
		d[n] = b
	}
	return d
}

func (d disk) mount(t *testing.T) *vfs.MemFS {
	t.Helper()
	m := vfs.NewMem()
	for n, b := range d {
		if dir := path.Dir(n); dir != "." {
			_ = m.MkdirAll(dir)
		}
		f, err := m.Open(n, vfs.ReadWrite|vfs.Create)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return m.Crash(vfs.CrashKeepAll, 0)
}

// damage changes one place of one file and says what it did, and whether that
// is in a meta slot. older is an earlier state of the same disk, where stale
// bytes come from.
func (d disk) damage(rng *rand.Rand, older disk) (out disk, what string, meta bool) {
	names := sortedNames(d)
	name := names[rng.IntN(len(names))]
	b := append([]byte(nil), d[name]...)
	what = "nothing"
	// Most of a log file is zeros written ahead; damage goes where data are.
	lo, end := 0, len(strings.TrimRight(string(b), "\x00"))
	if end == 0 {
		return d, what, false
	}
	if name == "crash.pod" && rng.IntN(3) == 0 {
		lo, meta = rng.IntN(2)*4096, true
		end = lo + 512
	}
	anywhere := func() int { return lo + rng.IntN(end-lo) }
	sector := func() int { return anywhere() / 512 * 512 }
	cut := func(at int) []byte { return b[at:min(len(b), at+512)] }
	switch kind := rng.IntN(7); kind {
	case 0:
		at := anywhere()
		b[at] ^= 1 << rng.IntN(8)
		what = fmt.Sprintf("bit flipped at %d", at)
	case 1:
		at := anywhere()
		b, meta = b[:at], false
		what = fmt.Sprintf("cut to %d", at)
	case 2:
		at := sector()
		clear(cut(at))
		what = fmt.Sprintf("sector %d zeroed", at)
	case 3: // a misdirected write
		from, to := sector(), sector()
		copy(cut(to), cut(from))
		what = fmt.Sprintf("sector %d written to %d", from, to)
	case 4: // a lost write
		at := sector()
		if old := older[name]; at < len(old) {
			copy(cut(at), old[at:])
		}
		what = fmt.Sprintf("sector %d lost a write", at)
	case 5: // a lost write of a page
		at := anywhere() / 4096 * 4096
		if old := older[name]; at < len(old) {
			copy(b[at:min(len(b), at+4096)], old[at:])
		}
		what = fmt.Sprintf("page %d lost a write", at)
	case 6:
		at := anywhere()
		for i := at; i < min(len(b), at+1+rng.IntN(64)); i++ {
			b[i] = byte(rng.Uint32())
		}
		what = fmt.Sprintf("garbage at %d", at)
	}
	out = disk{}
	for n, old := range d {
		out[n] = old
	}
	out[name] = b
	return out, name + ": " + what, meta
}

// judge reads everything of a damaged database. wrong is data that no commit
// ever had.
func judge(ctx context.Context, fsys vfs.FS, o outcome) (noticed bool, head db.Version, wrong error) {
	d, err := db.Open(ctx, "crash.pod", dbOptions(fsys))
	if err != nil {
		return true, 0, nil
	}
	defer d.Close()
	if head, err = d.Head(ctx, "main"); err != nil {
		return true, 0, nil
	}
	if head > o.acked {
		return false, head, fmt.Errorf("head is %d, the last commit was %d", head, o.acked)
	}
	for v := db.Version(0); v <= head; v++ {
		switch err := checkVersion(ctx, d, v, o.texts[v]); {
		case err == nil:
		case strings.Contains(err.Error(), "state differs"):
			return noticed, head, fmt.Errorf("version %d: %w", v, err)
		default:
			noticed = true
		}
	}
	rep, err := d.Verify(ctx, db.VerifyOptions{Deep: true})
	if noticed && err == nil && len(rep.Problems) == 0 {
		return true, head, errors.New("a load failed and Verify finds nothing")
	}
	return noticed || err != nil || len(rep.Problems) > 0, head, nil
}

const damageDefault = 400

// TestDamageNeverReadsAsOtherData damages one place of a database with history
// — bits, cuts, zeroed, misdirected and lost writes — and reads everything. It
// is an error or it is the data that was stored. In a closed database, and in
// the page file of one whose log is there, harmless damage loses no version,
// and damage to one meta slot is harmless: the other one is a full root.
func TestDamageNeverReadsAsOtherData(t *testing.T) {
	t.Parallel()
	ctx, seed := context.Background(), *flagSeed
	type state struct {
		now, older disk
		o          outcome
		closed     bool
	}
	var states []state
	r := newFaultRun(ctx, seed, fault{})
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	var older []disk
	for i := range 24 {
		r.p.step()
		if err := r.p.bind(ctx, r.ns); err != nil {
			t.Fatal(err)
		}
		if err := r.save(); err != nil {
			t.Fatal(err)
		}
		var err error
		if i%5 == 4 {
			err = r.d.Checkpoint(ctx)
		}
		switch i {
		case 12:
			if err = r.d.Close(); err == nil {
				err = r.open()
			}
		case 16: // killed: from here on the log has several segments
			killed := r.d
			r.restart()
			err = r.open()
			_ = killed.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		older = append(older, diskOf(t, r.mem))
		if i == 11 || i == 21 {
			states = append(states, state{older[i], older[i-4], r.o, false})
		}
	}
	if err := r.d.Close(); err != nil {
		t.Fatal(err)
	}
	states = append(states, state{diskOf(t, r.mem), older[16], r.o, true})
	tries := damageDefault
	if *flagImages > 0 {
		tries = *flagImages
	}
	rng := rand.New(rand.NewPCG(seed, 9))
	refused, harmless, shorter, wrong := 0, 0, 0, 0
	for i := range tries {
		s := states[i%len(states)]
		damaged, what, meta := s.now.damage(rng, s.older)
		noticed, head, err := judge(ctx, damaged.mount(t), s.o)
		switch {
		case err != nil:
		case meta && (noticed || head != s.o.acked):
			err = fmt.Errorf("with one meta slot damaged: noticed %v, version %d of %d", noticed, head, s.o.acked)
		case noticed:
			refused++
		case head == s.o.acked:
			harmless++
		case s.closed || strings.HasPrefix(what, "crash.pod:"):
			err = fmt.Errorf("opened in silence at version %d of %d", head, s.o.acked)
		default:
			shorter++ // the end of the log is gone, which looks as if it had never been written
		}
		if err != nil {
			wrong++
			t.Errorf("case %d, closed %v, %s: %v\n%s", i, s.closed, what, err, replay(t, "-images %d # case %d", tries, i))
			if wrong > 5 {
				break
			}
		}
	}
	t.Logf("CAMPAIGN name=damage seed=%d tries=%d refused=%d harmless=%d shorter=%d wrong=%d", seed, tries, refused, harmless, shorter, wrong)
	if refused < tries/4 {
		t.Error("hardly any damage was noticed: the campaign proves nothing")
	}
}
