package fuzz

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/podder"
)

// TestModel runs random programs against a model that keeps the state of every
// version in plain maps: put, get, change, delete, save, branch, merge, tag, prune,
// revert, collect, reopen, crash. After each step every version that is kept shows what
// it showed, and all promised ones are kept. rapid shrinks what fails;
// -rapid.checks and -rapid.steps make it longer.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := newProgramme(t)
		defer func() { _ = p.d.Close() }()
		steps := map[string]func(*rapid.T){
			"put": p.put, "get": p.get, "change": p.change, "delete": p.delete, "save": p.save,
			"branch": p.branch, "tag": p.tag, "untag": p.untag, "prune": p.prune, "revert": p.revert,
			"reopen": p.reopen, "crash": p.crash, "tidy": p.tidy, "collect": p.collect, "merge": p.merge,
			"": p.check,
		}
		for name, step := range steps {
			steps[name] = func(t *rapid.T) {
				if !p.over {
					step(t)
				}
			}
		}
		t.Repeat(steps)
	})
}

// The objects: documents that may share cells.
type (
	modelDoc struct {
		N     int
		Cells []*modelCell
	}
	modelCell struct {
		ID, V int // ID never changes, and is nobody else's
	}
)

// docState is what the model knows of a document: cells by their ids.
type docState struct {
	n      int
	cells  []int
	hidden []int // before the slice in its array, which keeps them
	object int   // which one it is: names are bound anew
}

// versionState is what a version holds. It is never changed once it is a version's.
type versionState struct {
	docs  map[string]docState
	cells map[int]int
}

func (s versionState) clone() versionState {
	c := versionState{docs: map[string]docState{}, cells: maps.Clone(s.cells)}
	if c.cells == nil {
		c.cells = map[int]int{}
	}
	for n, d := range s.docs {
		c.docs[n] = docState{d.n, slices.Clone(d.cells), slices.Clone(d.hidden), d.object}
	}
	return c
}

// reachable leaves out cells that no document leads to.
func (s versionState) reachable() versionState {
	c := versionState{docs: s.docs, cells: map[int]int{}}
	for _, d := range s.docs {
		for _, id := range d.cells {
			c.cells[id] = s.cells[id]
		}
	}
	return c
}

func (s versionState) equal(o versionState) bool {
	return maps.Equal(s.cells, o.cells) && maps.EqualFunc(s.docs, o.docs, func(a, b docState) bool {
		return a.n == b.n && slices.Equal(a.cells, b.cells)
	})
}

// lineState is a branch: its versions from the first, and where it began.
type lineState struct {
	versions []db.Version
	base     db.Version
}

func (l *lineState) head() db.Version {
	if n := len(l.versions); n > 0 {
		return l.versions[n-1]
	}
	return l.base
}

// programme is a database and its model.
type programme struct {
	ctx    context.Context
	mem    *vfs.MemFS
	d      *db.DB
	states map[db.Version]versionState
	lines  map[string]*lineState
	tags   map[string]db.Version
	gone   map[db.Version]bool
	// held are versions that namespaces may still show: the garbage collector ends them.
	held map[db.Version]bool
	// followed is, by branch, the version up to which all of them know what collects took away.
	followed map[string]db.Version
	// collected are the versions that Collect committed.
	collected map[db.Version]bool
	// parents are those of every version that was made, and taken, by branch, the newest
	// versions that a kept merge, or one that it stands for, took over.
	parents map[db.Version][]db.Version
	taken   map[db.Version]map[string]db.Version
	reverts map[db.Version]bool
	twice   map[db.Version]bool // merges of variables that both sides had bound anew
	over    bool                // a merge gave what the model does not know: nothing more is compared
	cells   int                 // made so far
	value   int
	seed    uint64
}

func newProgramme(t *rapid.T) *programme {
	p := &programme{
		ctx: context.Background(), mem: vfs.NewMem(), states: map[db.Version]versionState{0: {}},
		lines: map[string]*lineState{"main": {}}, tags: map[string]db.Version{}, gone: map[db.Version]bool{}, collected: map[db.Version]bool{}, held: map[db.Version]bool{}, followed: map[string]db.Version{},
		parents: map[db.Version][]db.Version{}, taken: map[db.Version]map[string]db.Version{}, reverts: map[db.Version]bool{}, twice: map[db.Version]bool{},
		seed: rapid.Uint64().Draw(t, "seed"),
	}
	p.open(t)
	return p
}

func (p *programme) open(t *rapid.T) {
	var key [32]byte
	p.seed++
	rng := rand.New(rand.NewPCG(p.seed, 1))
	for i := range key {
		key[i] = byte(rng.Uint32())
	}
	d, err := db.Open(p.ctx, "model.pod", &db.Options{
		FS: p.mem, PageSize: 4096, Rand: rand.NewChaCha8(key),
		CheckpointBytes: rapid.SampledFrom([]int64{4 << 10, -1}).Draw(t, "checkpoint"),
		PodTargetBytes:  rapid.SampledFrom([]int{64, 8 << 10}).Draw(t, "target"),
		VerifyEvery:     1,
		Strategy:        rapid.SampledFrom([]db.Strategy{nil, podder.Restless(p.seed)}).Draw(t, "strategy"),
		Types:           db.Types(db.Type[modelDoc]("model.doc"), db.Type[modelCell]("model.cell")),
	})
	must(t, err)
	p.d = d
	clear(p.held)
	clear(p.followed)
}

func must(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *programme) anyBranch(t *rapid.T) string {
	return rapid.SampledFrom(slices.Sorted(maps.Keys(p.lines))).Draw(t, "branch")
}

// anyName is a variable of a branch's head, "" if it has none.
func (p *programme) anyName(t *rapid.T, branch string) string {
	names := slices.Sorted(maps.Keys(p.states[p.lines[branch].head()].docs))
	if len(names) == 0 {
		return ""
	}
	return rapid.SampledFrom(names).Draw(t, "name")
}

// anyVersion is one that is kept.
func (p *programme) anyVersion(t *rapid.T) db.Version {
	return rapid.SampledFrom(slices.DeleteFunc(slices.Sorted(maps.Keys(p.states)), func(v db.Version) bool { return p.gone[v] })).Draw(t, "version")
}

// committed notes a version of a branch; one that changed nothing is its head.
func (p *programme) committed(t *rapid.T, branch string, v db.Version, s versionState) {
	l := p.lines[branch]
	if s = s.reachable(); v == l.head() {
		if !s.equal(p.states[v]) {
			t.Fatalf("a commit of changes returned version %d, which was there", v)
		}
		return
	}
	if v < l.head() {
		t.Fatalf("version %d after %d", v, l.head())
	}
	p.appended(branch, v, s)
}

// appended notes a new version of a branch.
func (p *programme) appended(branch string, v db.Version, s versionState) {
	l := p.lines[branch]
	p.states[v], p.parents[v] = s, []db.Version{l.head()}
	l.versions = append(l.versions, v)
}

// update changes the head of a branch by a transaction or, if ns, by a namespace.
func (p *programme) update(t *rapid.T, branch string, fn func(get func(string) *modelDoc, put func(string, any), remove func(string), s versionState)) {
	s := p.states[p.lines[branch].head()].clone()
	v, err := p.d.Update(p.ctx, func(ctx context.Context, tx *db.Tx) error {
		fn(func(n string) *modelDoc {
			doc, err := db.Get[*modelDoc](ctx, tx, n)
			must(t, err)
			return doc
		}, func(n string, v any) { must(t, tx.Put(ctx, n, v)) }, func(n string) { must(t, tx.Delete(ctx, n)) }, s)
		return nil
	}, db.TxOptions{Branch: branch})
	must(t, err)
	p.committed(t, branch, v, s)
}

func (p *programme) newCell(s versionState) (*modelCell, int) {
	p.cells++
	p.value++
	s.cells[p.cells] = p.value
	return &modelCell{p.cells, p.value}, p.cells
}

func (p *programme) put(t *rapid.T) { p.putOn(t, p.anyBranch(t)) }

// putOn binds a name to a new document, which may share cells with another one.
func (p *programme) putOn(t *rapid.T, branch string) {
	name := rapid.SampledFrom([]string{"a", "a/b", "b", "user/1", "user/2"}).Draw(t, "name")
	other := ""
	if names := slices.Sorted(maps.Keys(p.states[p.lines[branch].head()].docs)); len(names) > 0 && rapid.Bool().Draw(t, "share") {
		other = rapid.SampledFrom(names).Draw(t, "with")
	}
	p.update(t, branch, func(get func(string) *modelDoc, put func(string, any), _ func(string), s versionState) {
		p.value++
		doc, state := &modelDoc{N: p.value}, docState{n: p.value, object: p.value}
		if other != "" {
			doc.Cells = append(doc.Cells, get(other).Cells...)
			state.cells = slices.Clone(s.docs[other].cells)
		}
		cell, id := p.newCell(s)
		doc.Cells, state.cells = append(doc.Cells, cell), append(state.cells, id)
		put(name, doc)
		s.docs[name] = state
	})
}

// edit changes a loaded document in one of several ways.
func (p *programme) edit(t *rapid.T, doc *modelDoc, name string, s versionState) {
	state := s.docs[name]
	p.value++
	switch how := rapid.IntRange(0, 4).Draw(t, "how"); {
	case how == 0:
		doc.N, state.n = p.value, p.value
	case how == 1 && len(doc.Cells) > 0:
		i := rapid.IntRange(0, len(doc.Cells)-1).Draw(t, "cell")
		doc.Cells[i].V = p.value
		s.cells[state.cells[i]] = p.value
	case how == 2 && len(doc.Cells) > 1:
		doc.Cells, state.cells, state.hidden = doc.Cells[1:], state.cells[1:], append(state.hidden, state.cells[0])
	case how == 3 && len(doc.Cells) > 1:
		doc.Cells, state.cells, state.hidden = slices.Clone(doc.Cells[1:]), state.cells[1:], nil
	default:
		if len(doc.Cells) == cap(doc.Cells) {
			state.hidden = nil // it moves to another array
		}
		cell, id := p.newCell(s)
		doc.Cells, state.cells = append(doc.Cells, cell), append(state.cells, id)
	}
	s.docs[name] = state
}

func (p *programme) change(t *rapid.T) { p.changeOn(t, p.anyBranch(t)) }

func (p *programme) changeOn(t *rapid.T, branch string) {
	name := p.anyName(t, branch)
	if name == "" {
		return
	}
	p.update(t, branch, func(get func(string) *modelDoc, _ func(string, any), _ func(string), s versionState) {
		p.edit(t, get(name), name, s)
	})
}

func (p *programme) delete(t *rapid.T) { p.deleteOn(t, p.anyBranch(t)) }

func (p *programme) deleteOn(t *rapid.T, branch string) {
	name := p.anyName(t, branch)
	if name == "" {
		return
	}
	p.update(t, branch, func(_ func(string) *modelDoc, _ func(string, any), remove func(string), s versionState) {
		remove(name)
		delete(s.docs, name)
	})
}

// save changes a document through a namespace, which may load it alone.
func (p *programme) save(t *rapid.T) {
	branch := p.anyBranch(t)
	name := p.anyName(t, branch)
	if name == "" {
		return
	}
	ns, err := p.d.Namespace(p.ctx, branch)
	must(t, err)
	doc, err := db.Get[*modelDoc](p.ctx, ns, name)
	must(t, err)
	s := p.states[p.lines[branch].head()].clone()
	p.edit(t, doc, name, s)
	p.held[ns.Base()] = true
	if v, ok := p.followed[branch]; !ok || ns.Base() < v {
		p.followed[branch] = ns.Base()
	}
	v, err := ns.Save(p.ctx)
	must(t, err)
	p.held[ns.Base()] = true
	p.committed(t, branch, v, s)
}

// get reads in a transaction that is rolled back, after changes that nobody may see.
func (p *programme) get(t *rapid.T) {
	branch := p.anyBranch(t)
	name := p.anyName(t, branch)
	if name == "" {
		return
	}
	tx, err := p.d.Begin(p.ctx, db.TxOptions{Branch: branch})
	must(t, err)
	doc, err := db.Get[*modelDoc](p.ctx, tx, name)
	must(t, err)
	if want := p.states[p.lines[branch].head()].docs[name].n; doc.N != want {
		t.Fatalf("%s on %s is %d, not %d", name, branch, doc.N, want)
	}
	doc.N = -1
	must(t, tx.Put(p.ctx, "never", doc))
	must(t, tx.Rollback())
}

const modelBranches = 5 // a dozen forks deep there are hidden commits

func (p *programme) branch(t *rapid.T) {
	if len(p.lines) >= modelBranches {
		return
	}
	name, at := fmt.Sprint("b", len(p.lines)), p.anyVersion(t)
	must(t, p.d.Branch(p.ctx, name, at))
	p.lines[name] = &lineState{base: at}
}

func (p *programme) tag(t *rapid.T) {
	name, at := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "tag"), p.anyVersion(t)
	err := p.d.Tag(p.ctx, name, at)
	if old, taken := p.tags[name]; taken && old != at {
		if !errors.Is(err, db.ErrTagExists) {
			t.Fatalf("a second tag %s: %v", name, err)
		}
		return
	}
	must(t, err)
	p.tags[name] = at
}

func (p *programme) untag(t *rapid.T) {
	if len(p.tags) == 0 {
		return
	}
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(p.tags))).Draw(t, "tag")
	must(t, p.d.DeleteTag(p.ctx, name))
	delete(p.tags, name)
}

// promised are the versions that no prune may take.
func (p *programme) promised(last int) map[db.Version]bool {
	keep := map[db.Version]bool{0: true}
	for _, l := range p.lines {
		keep[l.base], keep[l.head()] = true, true
		n := last
		for i := len(l.versions) - 1; i >= 0 && n > 0; i-- {
			if v := l.versions[i]; !p.gone[v] && !p.collected[v] { // policies do not count those
				keep[v] = true
				n--
			}
		}
	}
	for _, v := range p.tags {
		keep[v] = true
	}
	for _, taken := range p.taken { // where the next merges begin
		for _, v := range taken {
			keep[v] = true
		}
	}
	return keep
}

// mayStay are versions that namespaces may keep: those that they show, and collects that
// they have not followed with the versions just before them.
func (p *programme) mayStay() map[db.Version]bool {
	stay := maps.Clone(p.held)
	for branch, followed := range p.followed {
		before := db.Version(0)
		for _, v := range p.lines[branch].versions {
			if p.gone[v] {
				continue
			}
			if p.collected[v] && v > followed {
				stay[before], stay[v] = true, true
			}
			before = v
		}
	}
	return stay
}

func (p *programme) prune(t *rapid.T) {
	last := rapid.IntRange(1, 6).Draw(t, "last")
	keep, stay := p.promised(last), p.mayStay()
	rep, err := p.d.Prune(p.ctx, db.PruneOptions{Policy: db.KeepLast(last)})
	must(t, err)
	taken := 0
	for v := range p.states {
		if p.gone[v] || keep[v] {
			continue
		}
		s, err := p.d.At(p.ctx, v)
		if err == nil {
			s.Close()
			if stay[v] {
				continue
			}
			t.Fatalf("version %d was to go, and is there", v)
		}
		p.gone[v] = true
		taken++
	}
	if int(rep.Versions) != taken {
		t.Fatalf("the prune says that it took %d versions; it took %d", rep.Versions, taken)
	}
	p.handOn()
}

// revert takes a commit of a branch back. Whether small objects share pods is
// not the model's business: a conflict is right unless the commit is the newest.
func (p *programme) revert(t *rapid.T) {
	branch := p.anyBranch(t)
	l := p.lines[branch]
	if len(l.versions) == 0 {
		return
	}
	i := rapid.IntRange(0, len(l.versions)-1).Draw(t, "which")
	v, before := l.versions[i], l.base
	if p.collected[v] {
		return
	}
	if i > 0 {
		before = l.versions[i-1]
	}
	if v != l.head() && (p.unbound(before, v) || p.rebound(before, v) && p.mergedSince(l, v)) {
		// Taking it back binds the name to the object again, as others have made it since, or a
		// merge; the model has documents by name and cannot say what that is.
		return
	}
	made, err := p.d.Revert(p.ctx, v, db.RevertOptions{Branch: branch})
	switch {
	case p.gone[v] || p.gone[before]:
		if !errors.Is(err, db.ErrVersionGone) {
			t.Fatalf("revert of %d over a hole: %v", v, err)
		}
		return
	case errors.Is(err, db.ErrConflict) && v != l.head():
		return
	}
	must(t, err)
	p.committed(t, branch, made, p.takenBack(t, l.head(), v, before))
	p.reverts[l.head()] = true
}

// unbound reports whether a version lacks a document that the one before it had.
func (p *programme) unbound(before, v db.Version) bool {
	for name := range p.states[before].docs {
		if _, ok := p.states[v].docs[name]; !ok {
			return true
		}
	}
	return false
}

// rebound reports whether a version has another document of a name than the one before it.
func (p *programme) rebound(before, v db.Version) bool {
	for name, d := range p.states[before].docs {
		if p.states[v].docs[name].object != d.object {
			return true
		}
	}
	return false
}

// mergedSince reports whether a line has taken over another one since a version.
func (p *programme) mergedSince(l *lineState, v db.Version) bool {
	return slices.ContainsFunc(l.versions, func(w db.Version) bool { return w > v && len(p.parents[w]) > 1 })
}

// takenBack is the head without what v changed since before.
func (p *programme) takenBack(t *rapid.T, head, v, before db.Version) versionState {
	was, is, s := p.states[before], p.states[v], p.states[head].clone()
	for name := range s.docs {
		if old, ok := was.docs[name]; !ok {
			if _, added := is.docs[name]; added {
				delete(s.docs, name)
			}
		} else if !sameDoc(old, is.docs[name]) {
			if o := is.docs[name].object; o == old.object && o != s.docs[name].object {
				continue // v changed what the name was bound to then
			}
			if !sameDoc(is.docs[name], s.docs[name]) {
				t.Fatalf("revert of %d passed over a later change of %s", v, name)
			}
			s.docs[name] = old
		}
	}
	for name, old := range was.docs {
		if _, ok := is.docs[name]; !ok {
			s.docs[name] = old
		}
	}
	for id, old := range was.cells {
		if now, ok := is.cells[id]; !ok || now != old {
			s.cells[id] = old
		}
	}
	for _, d := range s.docs {
		for _, id := range d.cells {
			if _, ok := s.cells[id]; !ok { // out of reach in the head, and as it was when it was in reach
				s.cells[id] = p.newestValue(head, id)
			}
		}
	}
	return s
}

// newestValue is what a cell was when the versions up to one last reached it.
func (p *programme) newestValue(head db.Version, id int) int {
	for at := head; at > 0; at = p.parents[at][0] {
		if v, ok := p.states[at].cells[id]; ok {
			return v
		}
	}
	return 0
}

func sameDoc(a, b docState) bool { return a.n == b.n && slices.Equal(a.cells, b.cells) }

func (p *programme) reopen(t *rapid.T) {
	must(t, p.d.Close())
	p.open(t)
}

// crash cuts the power; everything was acknowledged.
func (p *programme) crash(t *rapid.T) {
	was := p.d
	p.mem = p.mem.Crash(vfs.CrashKind(rapid.IntRange(0, 3).Draw(t, "kind")), p.seed)
	_ = was.Close()
	p.open(t)
}

// tidy moves the log to the file, or compacts.
func (p *programme) tidy(t *rapid.T) {
	if rapid.Bool().Draw(t, "compact") {
		_, err := p.d.Compact(p.ctx)
		must(t, err)
		return
	}
	must(t, p.d.Checkpoint(p.ctx))
}

// collect takes away what no name reaches; nobody sees a difference.
func (p *programme) collect(t *rapid.T) {
	branch := p.anyBranch(t)
	l := p.lines[branch]
	_, err := p.d.Collect(p.ctx, db.CollectOptions{Branch: branch})
	must(t, err)
	head, err := p.d.Head(p.ctx, branch)
	must(t, err)
	for v := l.head() + 1; v <= head; v++ {
		if c, err := p.d.CommitOf(p.ctx, v); err == nil && c.Branch == branch {
			p.collected[v] = true
			p.appended(branch, v, p.states[l.head()])
		}
	}
}
