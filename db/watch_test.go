package db_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
)

// watched is what a watcher makes of the events: variables n/… are numbers, p/… are
// *counter, made with N 0.
type watched map[string]string

func (m watched) apply(c db.Change) error {
	name, field, _ := strings.Cut(c.Path, ".")
	number := strings.HasPrefix(name, "n/")
	if number && field != "" || !number && (field == "") == (c.Kind == db.ValueChanged) {
		return fmt.Errorf("a change that nobody made: %v", c)
	}
	_, had := m[name]
	switch {
	case had == (c.Kind == db.ValueAdded):
		return fmt.Errorf("%v, but the model has %q", c, m[name])
	case c.Kind == db.ValueRemoved:
		delete(m, name)
	case c.Kind == db.ValueAdded && !number:
		m[name] = "0"
	case c.Kind == db.ValueChanged && m[name] != c.Old:
		return fmt.Errorf("%v, but the model has %q", c, m[name])
	default:
		m[name] = c.New
	}
	return nil
}

// at is what the model must be.
func (m watched) at(ctx context.Context, d *db.DB, v db.Version, prefix string) (watched, error) {
	s, err := d.At(ctx, v)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	want := watched{}
	for n, err := range s.Names(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(n, "n/") {
			i, err := db.Get[int](ctx, s, n)
			if err != nil {
				return nil, err
			}
			want[n] = fmt.Sprint(i)
			continue
		}
		c, err := db.Get[*counter](ctx, s, n)
		if err != nil {
			return nil, err
		}
		want[n] = fmt.Sprint(c.N)
	}
	return want, nil
}

// take applies an event and compares with the version.
func (m watched) take(ctx context.Context, d *db.DB, e db.WatchEvent, prefix string) (err error) {
	before := maps.Clone(m)
	defer func() {
		if err != nil { // the database was closed in the midst of it: it is told again
			clear(m)
			maps.Copy(m, before)
		}
	}()
	v := e.Commit.Version
	want, err := m.at(ctx, d, v, prefix)
	if err != nil {
		return fmt.Errorf("version %d: %w", v, err)
	}
	if e.Gap != nil && e.Gap.Reset {
		clear(m)
		maps.Copy(m, want)
		return nil
	}
	var list []db.Change
	for c, err := range e.Changes(ctx) {
		if err == nil {
			err = m.apply(c)
		}
		list = append(list, c)
		if e.Gap != nil && c.Kind == db.ValueAdded {
			m[c.Path] = want[c.Path] // it may have changed since it was made
		}
		if err != nil {
			return fmt.Errorf("version %d after %d: %w", v, e.Base, err)
		}
	}
	if !maps.Equal(m, want) {
		return fmt.Errorf("version %d after %d, gap %v: the changes %v make %v of %v, it has %v", v, e.Base, e.Gap, list, m, before, want)
	}
	bound, deleted, err := e.Names(ctx)
	if err != nil {
		return err
	}
	for n := range want {
		if _, had := before[n]; !had && !slices.Contains(bound, n) {
			return fmt.Errorf("version %d: %s is new, bound are %q", v, n, bound)
		}
	}
	for n := range before {
		if _, has := want[n]; has == slices.Contains(deleted, n) {
			return fmt.Errorf("version %d: %s is there: %v, deleted are %q", v, n, has, deleted)
		}
	}
	return nil
}

// randomCommit changes a few variables; false if that changed nothing.
func randomCommit(ctx context.Context, d *db.DB, rng *rand.Rand) (db.Version, bool, error) {
	base := db.Version(0)
	v, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
		base = tx.Base()
		fresh := map[string]bool{} // with N 0 as long as this transaction lasts
		for range 1 + rng.IntN(3) {
			n, p := fmt.Sprint("n/", rng.IntN(8)), fmt.Sprint("p/", rng.IntN(8))
			has, err := tx.Has(ctx, p)
			if err != nil {
				return err
			}
			switch k := rng.IntN(6); {
			case k < 2:
				err = tx.Put(ctx, n, rng.IntN(1000))
			case k == 2:
				if err = tx.Delete(ctx, n); errors.Is(err, db.ErrNotFound) {
					err = nil
				}
			case !has:
				fresh[p] = true
				err = tx.Put(ctx, p, &counter{})
			case k == 3:
				err = tx.Delete(ctx, p)
			case !fresh[p]:
				var c *counter
				if c, err = db.Get[*counter](ctx, tx, p); err == nil {
					c.N += 1 + rng.IntN(5)
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return v, v > base, err
}

// told is one event as a watcher saw it.
type told struct {
	base, version db.Version
	gap           *db.WatchGap
}

// checkTold compares what a watcher was told with what was committed: in order, nothing
// twice, and nothing left out without a gap that is there for a reason.
func checkTold(t *testing.T, who string, list []told, committed []db.Version) {
	t.Helper()
	last := db.Version(0)
	for i, e := range list {
		if e.version <= e.base || i > 0 && e.base != last {
			t.Fatalf("%s: event %d leads from version %d to %d, the one before led to %d", who, i, e.base, e.version, last)
		}
		last = e.version
		between := 0
		for _, v := range committed {
			if v > e.base && v < e.version {
				between++
			}
		}
		// Without the version that it leads from an event's changes are not known, though
		// nothing lies between.
		lost := between > 0 || e.gap != nil && e.gap.Reset
		if lost != (e.gap != nil) || e.gap != nil && (e.gap.From != e.base || e.gap.To != e.version) {
			t.Fatalf("%s: %d commits between %d and %d, gap %v", who, between, e.base, e.version, e.gap)
		}
		if !slices.Contains(committed, e.version) {
			t.Fatalf("%s: nobody committed version %d", who, e.version)
		}
	}
}

// Writers commit, watchers come and go, Prune takes versions away; the database is
// closed and opened again, and the watchers go on where they were. Each is told every
// commit once, in order, or of a gap; what each makes of the changes is what each
// version is.
func TestWatchLosesAndDoublesNothing(t *testing.T) {
	for _, pruned := range []bool{false, true} {
		t.Run(fmt.Sprint("pruned=", pruned), func(t *testing.T) { watchStorm(t, pruned) })
	}
}

type storm struct {
	mu        sync.Mutex
	committed []db.Version
	watchers  []*stormWatcher
	gaps      int
}

type stormWatcher struct {
	prefix string
	model  watched
	list   []told
	since  db.Version   // that it begins after; 0 = everything
	stays  func(*db.DB) // what it does in its loop's body now and then
}

// run is told until enough is true, the context ends, or the database is closed.
func (w *stormWatcher) run(ctx context.Context, d *db.DB, enough func() bool) error {
	o := db.WatchOptions{After: w.since}
	if o.After == 0 {
		o.Beginning = true
	}
	for e, err := range d.Watch(ctx, "", w.prefix, o) {
		if err != nil {
			return err
		}
		if err := w.model.take(ctx, d, e, w.prefix); err != nil {
			return err
		}
		w.list = append(w.list, told{e.Base, e.Commit.Version, e.Gap})
		if w.since = e.Commit.Version; enough() {
			return nil
		}
		if w.stays != nil && len(w.list)%8 == 7 {
			w.stays(d)
		}
	}
	return errors.New("Watch ended without an error")
}

func watchStorm(t *testing.T, pruned bool) {
	ctx := context.Background()
	o := &db.Options{FS: vfs.NewMem()}
	s := &storm{}
	for _, prefix := range []string{"", "n/", "p/", "p/3"} {
		s.watchers = append(s.watchers, &stormWatcher{prefix: prefix, model: watched{}})
	}
	if pruned {
		s.watchers[3].stays = func(d *db.DB) { s.commitAndPrune(t, d) }
	}
	for round := range rounds(3) {
		d := must(db.Open(ctx, sampleName, o))(t)
		s.round(t, d, uint64(round), pruned)
		if t.Failed() {
			return
		}
	}
	d := must(db.Open(ctx, sampleName, o))(t)
	defer d.Close()
	head := must(d.Head(ctx, "main"))(t)
	for i, w := range s.watchers {
		if w.since < head {
			// The one that prunes in its loop's body may be told of a gap beyond head.
			if err := w.run(ctx, d, func() bool { return w.since >= head }); err != nil {
				t.Fatal(err)
			}
		}
		checkTold(t, fmt.Sprint("watcher ", i), w.list, s.committed)
		for _, e := range w.list {
			if e.gap != nil {
				s.gaps++
			}
		}
	}
	if !pruned && len(s.watchers[0].list) != len(s.committed) {
		t.Fatalf("%d commits, told %d", len(s.committed), len(s.watchers[0].list))
	}
	if (s.gaps > 0) != pruned {
		t.Fatalf("%d gaps, pruned: %v", s.gaps, pruned)
	}
	verifyDeep(t, d)
}

// round is one opening of the database: writers, a pruner, short watchers, and the ones
// that last, which end with Close.
func (s *storm) round(t *testing.T, d *db.DB, round uint64, pruned bool) {
	ctx := context.Background()
	var writers, watchers sync.WaitGroup
	for _, w := range s.watchers {
		watchers.Go(func() {
			if err := w.run(ctx, d, func() bool { return false }); !errors.Is(err, db.ErrClosed) {
				t.Errorf("prefix %q: %v", w.prefix, err)
			}
		})
	}
	for i := range 4 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(round, uint64(i)))
			for range 25 {
				v, changed, err := randomCommit(ctx, d, rng)
				if err != nil {
					t.Error(err)
					return
				}
				if changed {
					s.note(v)
				}
				if rng.IntN(4) == 0 {
					beginning := rng.IntN(2) == 0
					watchers.Go(func() { s.guest(t, d, beginning) })
				}
				if pruned && rng.IntN(8) == 0 {
					if _, err := d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(2)}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Wait()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	watchers.Wait()
}

func (s *storm) note(v db.Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed = append(s.committed, v)
}

// commitAndPrune makes sure that who does it in his loop's body is told of a gap.
func (s *storm) commitAndPrune(t *testing.T, d *db.DB) {
	ctx := context.Background()
	for i := range 3 {
		v, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error { return tx.Put(ctx, "n/own", i) })
		if errors.Is(err, db.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		s.note(v)
	}
	if _, err := d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1)}); err != nil && !errors.Is(err, db.ErrClosed) {
		t.Error(err)
	}
}

// guest joins at the head, or at the beginning, is told a few commits and leaves.
func (s *storm) guest(t *testing.T, d *db.DB, beginning bool) {
	ctx := context.Background()
	w := &stormWatcher{prefix: "p/", model: watched{}}
	if !beginning {
		head, err := d.Head(ctx, "main")
		if err != nil {
			return // closed
		}
		if w.model, err = w.model.at(ctx, d, head, w.prefix); err != nil {
			return // pruned, or closed
		}
		w.since = head
	}
	if err := w.run(ctx, d, func() bool { return len(w.list) == 3 }); err != nil && !errors.Is(err, db.ErrClosed) {
		t.Error(err)
	}
}

// rounds is n, or 2 in short tests.
func rounds(n int) int {
	if testing.Short() {
		return 2
	}
	return n
}

// next is the next event of a watch; stop ends it.
func watching(t *testing.T, d *db.DB, branch, prefix string, o db.WatchOptions) (next func() (db.WatchEvent, error)) {
	t.Helper()
	pull, stop := iter.Pull2(d.Watch(t.Context(), branch, prefix, o))
	t.Cleanup(stop)
	return func() (db.WatchEvent, error) {
		e, err, ok := pull()
		if !ok {
			t.Fatal("Watch ended without an error")
		}
		return e, err
	}
}

func textOf(t *testing.T, e db.WatchEvent) string {
	t.Helper()
	var list []string
	for c, err := range e.Changes(context.Background()) {
		if err != nil {
			return err.Error()
		}
		list = append(list, c.String())
	}
	return strings.Join(list, ", ")
}

// Who does not look while versions are pruned, or is further behind than he wants to be, is told so
// by a gap, and still of all that changed.
func TestWatchGaps(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	putAll(t, d, map[string]any{"n": 0, "m": 0})
	slow := watching(t, d, "main", "n", db.WatchOptions{})
	hasty := watching(t, d, "main", "n", db.WatchOptions{Behind: 3})
	for i := 1; i <= 10; i++ {
		putAll(t, d, map[string]any{"n": i, "m": i})
	}
	if e := must(slow())(t); e.Gap != nil || e.Base != 1 || textOf(t, e) != "n: 0 → 1" {
		t.Fatalf("%+v %s", e, textOf(t, e))
	}
	if e := must(hasty())(t); e.Gap == nil || *e.Gap != (db.WatchGap{From: 1, To: 11, Cause: db.GapBehind}) || textOf(t, e) != "n: 0 → 10" {
		t.Fatalf("%+v %v %s", e, e.Gap, textOf(t, e))
	}
	rep := must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1)}))(t)
	if rep.Versions != 8 { // the event at hand keeps versions 1 and 2
		t.Fatalf("%d versions pruned", rep.Versions)
	}
	if e := must(slow())(t); e.Gap == nil || *e.Gap != (db.WatchGap{From: 2, To: 11}) || textOf(t, e) != "n: 1 → 10" || !strings.Contains(e.Gap.String(), "retention") {
		t.Fatalf("%+v %v %s", e, e.Gap, textOf(t, e))
	}
	for i := 11; i <= 13; i++ { // not too many
		putAll(t, d, map[string]any{"n": i})
		for _, next := range []func() (db.WatchEvent, error){slow, hasty} {
			if e := must(next())(t); e.Gap != nil || textOf(t, e) != fmt.Sprintf("n: %d → %d", i-1, i) {
				t.Fatalf("%+v %s", e, textOf(t, e))
			}
		}
	}
	// One that resumes where nothing is any more: version 5 is pruned.
	late := watching(t, d, "main", "n", db.WatchOptions{After: 5})
	e := must(late())(t)
	if e.Gap == nil || *e.Gap != (db.WatchGap{From: 5, To: 11, Reset: true}) || !strings.Contains(e.Gap.String(), "version 5 itself") {
		t.Fatalf("%+v %v", e, e.Gap)
	}
	if _, _, err := e.Names(ctx); !errors.Is(err, db.ErrVersionGone) || !strings.Contains(textOf(t, e), "load version 11") {
		t.Fatal(err, textOf(t, e))
	}
	if e := must(late())(t); e.Gap != nil || e.Base != 11 || textOf(t, e) != "n: 10 → 11" {
		t.Fatalf("%+v %s", e, textOf(t, e))
	}
	// The versions of an event may go once its loop's body is left.
	must(late())(t)
	must(late())(t)
	must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1)}))(t)
	if got := textOf(t, e); !strings.Contains(got, "loads") && !strings.Contains(got, "removed by retention") {
		t.Fatal(got)
	}
	if got := textOf(t, db.WatchEvent{}); !strings.Contains(got, "did not yield") {
		t.Fatal(got)
	}
}

// Matching leaves out what does not concern the watcher.
func TestWatchMatching(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	next := watching(t, d, "main", "a/", db.WatchOptions{Matching: true, Beginning: true})
	shared := &counter{}
	putAll(t, d, map[string]any{"b": shared})
	tx := begin(t, d)
	put(t, tx, "a/1", get[*counter](t, tx, "b")) // the same object
	v := commit(t, tx)
	e := must(next())(t)
	if bound, deleted, err := e.Names(ctx); e.Commit.Version != v || e.Base != v-1 || fmt.Sprint(bound, deleted, err) != "[a/1] [] <nil>" {
		t.Fatalf("%+v %q %q %v", e, bound, deleted, err)
	}
	putAll(t, d, map[string]any{"c": 1})
	tx = begin(t, d)
	get[*counter](t, tx, "b").N = 7 // and so a/1
	v = commit(t, tx)
	if e := must(next())(t); e.Commit.Version != v || textOf(t, e) != "a/1.N: 0 → 7" {
		t.Fatalf("%+v %s", e, textOf(t, e))
	}
	tx = begin(t, d)
	remove(t, tx, "a/1")
	v = commit(t, tx)
	e = must(next())(t)
	if bound, deleted, err := e.Names(ctx); e.Commit.Version != v || fmt.Sprint(bound, deleted, err) != "[] [a/1] <nil>" {
		t.Fatalf("%+v %q %q %v", e, bound, deleted, err)
	}
}

// Commits of Collect are nobody's: they are passed over, also as the place where a watch begins.
func TestWatchPassesOverCollects(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	putAll(t, d, map[string]any{"n": 0, "x": stock(20)})
	before := watching(t, d, "", "n", db.WatchOptions{})
	drop := begin(t, d)
	remove(t, drop, "x")
	dropped := commit(t, drop)
	rep := must(d.Collect(ctx, db.CollectOptions{}))(t)
	hidden := must(d.Head(ctx, "main"))(t)
	if hidden == dropped {
		t.Fatalf("Collect made no commit: %+v", rep)
	}
	must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepAll()}))(t)
	at := watching(t, d, "", "n", db.WatchOptions{})
	late := watching(t, d, "", "n", db.WatchOptions{After: hidden})
	v := putAll(t, d, map[string]any{"n": 1})
	if e := must(before())(t); e.Commit.Version != dropped || e.Gap != nil {
		t.Fatalf("%+v", e)
	}
	for i, next := range []func() (db.WatchEvent, error){before, at, late} {
		e := must(next())(t)
		if want := []db.Version{dropped, hidden, hidden}[i]; e.Commit.Version != v || e.Base != want || e.Gap != nil || textOf(t, e) != "n: 0 → 1" {
			t.Fatalf("%d: %+v %v %s", i, e, e.Gap, textOf(t, e))
		}
	}
}

// What a watch ends with.
func TestWatchEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), sampleName)
	d := must(db.Open(t.Context(), path, nil))(t)
	putAll(t, d, map[string]any{"n": 0})
	ctx, cancel := context.WithCancel(t.Context())
	ends := make(chan error)
	waiting := func(ctx context.Context, branch string) {
		for _, err := range d.Watch(ctx, branch, "") {
			ends <- err
			if err == nil {
				break
			}
		}
	}
	go waiting(ctx, "main")
	cancel()
	if err := <-ends; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, bad := range []struct {
		branch string
		o      db.WatchOptions
		want   error
	}{
		{"nowhere", db.WatchOptions{}, db.ErrNotFound},
		{"nowhere", db.WatchOptions{After: 1}, db.ErrNotFound},
		{"", db.WatchOptions{After: 99}, db.ErrNotFound},
		{"", db.WatchOptions{After: 1, Beginning: true}, db.ErrInvalid},
		{"", db.WatchOptions{Behind: -1}, db.ErrInvalid},
	} {
		if _, err := watching(t, d, bad.branch, "", bad.o)(); !errors.Is(err, bad.want) {
			t.Errorf("%q %+v: %v", bad.branch, bad.o, err)
		}
	}
	go waiting(t.Context(), "main")
	go waiting(t.Context(), "main")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-ends; !errors.Is(err, db.ErrClosed) {
			t.Fatal(err)
		}
	}
	if _, err := watching(t, d, "", "", db.WatchOptions{})(); !errors.Is(err, db.ErrClosed) {
		t.Fatal(err)
	}
	d = must(db.Open(t.Context(), path, &db.Options{ReadOnly: true}))(t)
	defer d.Close()
	if _, err := watching(t, d, "", "", db.WatchOptions{Beginning: true})(); !errors.Is(err, db.ErrReadOnly) {
		t.Fatal(err)
	}
}

// A watcher goes along its branch, from where that began, and ends with it, whatever takes
// its name.
func TestWatchOfABranchThatGoes(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	putAll(t, d, map[string]any{"n": 0})
	putAll(t, d, map[string]any{"n": 1})
	if err := d.Branch(ctx, "b", 1); err != nil {
		t.Fatal(err)
	}
	on := func(n int) db.Version {
		tx := begin(t, d, db.TxOptions{Branch: "b"})
		put(t, tx, "n", n)
		return commit(t, tx)
	}
	idle := watching(t, d, "b", "", db.WatchOptions{})
	all := watching(t, d, "b", "", db.WatchOptions{Beginning: true})
	first := on(10)
	if _, err := watching(t, d, "b", "", db.WatchOptions{After: 2})(); !errors.Is(err, db.ErrInvalid) {
		t.Fatalf("after a version of another branch: %v", err)
	}
	resumed := watching(t, d, "b", "", db.WatchOptions{After: 1})
	for i, next := range []func() (db.WatchEvent, error){idle, all, all, resumed} {
		e := must(next())(t)
		if want := []string{"n: 0 → 10", "n: added 0", "n: 0 → 10", "n: 0 → 10"}[i]; textOf(t, e) != want || e.Gap != nil {
			t.Fatalf("%d: %+v %s", i, e, textOf(t, e))
		}
	}
	second := on(11)
	if err := d.DeleteBranch(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if err := d.Branch(ctx, "b", 1); err != nil {
		t.Fatal(err)
	}
	on(20)
	var gone *db.BranchDeletedError
	for _, next := range []func() (db.WatchEvent, error){idle, all, resumed} {
		if e := must(next())(t); e.Commit.Version != second || e.Base != first {
			t.Fatalf("%+v", e)
		}
		if _, err := next(); !errors.Is(err, db.ErrBranchDeleted) || !errors.As(err, &gone) || gone.Branch != "b" || gone.Last != second || gone.Lost {
			t.Fatal(err)
		}
	}
	if _, err := watching(t, d, "b", "", db.WatchOptions{After: second})(); !errors.Is(err, db.ErrInvalid) {
		t.Fatalf("after a version of the branch that had the name: %v", err)
	}
	// A branch that nobody used is gone at once.
	if err := d.Branch(ctx, "c", 1); err != nil {
		t.Fatal(err)
	}
	unused := watching(t, d, "c", "", db.WatchOptions{})
	done := make(chan error)
	go func() {
		_, err := unused()
		done <- err
	}()
	if err := d.DeleteBranch(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, db.ErrBranchDeleted) && !errors.Is(err, db.ErrNotFound) { // it may not have begun
		t.Fatal(err)
	}
}

// Branches on branches, so deep that commits are made for them which nobody sees.
func TestWatchOfADeepBranch(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	want := putAll(t, d, map[string]any{"n": 0})
	versions := []db.Version{want}
	for i := range 40 {
		name := fmt.Sprint("b", i)
		if err := d.Branch(ctx, name, want); err != nil {
			t.Fatal(err)
		}
		begun := watching(t, d, name, "", db.WatchOptions{})
		tx := begin(t, d, db.TxOptions{Branch: name})
		put(t, tx, "n", i+1)
		want = commit(t, tx)
		versions = append(versions, want)
		if e := must(begun())(t); e.Commit.Version != want || e.Gap != nil || textOf(t, e) != fmt.Sprintf("n: %d → %d", i, i+1) {
			t.Fatalf("%d: %+v %v %s", i, e, e.Gap, textOf(t, e))
		}
	}
	all := watching(t, d, "b39", "", db.WatchOptions{Beginning: true})
	for i, v := range versions {
		if e := must(all())(t); e.Commit.Version != v || e.Gap != nil {
			t.Fatalf("%d: version %d, expected %d, gap %v", i, e.Commit.Version, v, e.Gap)
		}
	}
}

// Hundred watchers whose loops stand still hold up nobody, and all of them are told in the end.
func TestWatchersThatStandStill(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	putAll(t, d, map[string]any{"n": 0})
	const watchers, commits = 100, 30
	var inside, done sync.WaitGroup
	goOn := make(chan struct{})
	inside.Add(watchers)
	for range watchers {
		events := d.Watch(ctx, "", "")
		done.Go(func() {
			n := 0
			for e, err := range events {
				if err != nil || e.Gap != nil {
					t.Error(err, e.Gap)
					return
				}
				if n++; n == 1 {
					inside.Done()
					<-goOn
				}
				if n == commits {
					return
				}
			}
		})
	}
	putAll(t, d, map[string]any{"n": 1})
	inside.Wait() // one commit woke all
	for i := 2; i <= commits; i++ {
		putAll(t, d, map[string]any{"n": i})
	}
	close(goOn)
	done.Wait()
}
