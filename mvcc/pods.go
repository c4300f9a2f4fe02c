package mvcc

import (
	"bytes"
	"fmt"

	"github.com/poddb/poddb/internal/pod"
)

// merged is a pod version ready for readers, as the cache holds it.
type merged struct {
	pod   *pod.Pod
	depth uint8  // of its chain
	size  uint64 // of its version record (frame.size)
	body  uint64 // the shared body's record number, 0 if it has its own
}

// cost is what a merged pod occupies in memory, in bytes, roughly.
func (m *merged) cost() int64 {
	n := 64 + 16*len(m.pod.Refs) + 64*len(m.pod.Slots) + 40*len(m.pod.Exports) + 24*len(m.pod.Generations)
	for i := range m.pod.Slots {
		n += len(m.pod.Slots[i].Bytes) + 4*len(m.pod.Slots[i].Runs)
	}
	for i := range m.pod.Exports {
		n += 4 * len(m.pod.Exports[i].Edges.List)
	}
	return int64(n)
}

// pod returns the version of a pod that a lineage sees, nil if none.
func (v *view) pod(lineage []fork, id pid) (*merged, found, error) {
	f, ok, err := v.resolve(lineage, id)
	if err != nil || !ok {
		return nil, f, err
	}
	m, err := v.version(f)
	return m, f, err
}

// podInto is pod, read into spare if it is small and spare is not nil; then last, unless it
// is nil, says what was read.
func (v *view) podInto(lineage []fork, id pid, spare *pod.Pod, last *lastRead) (*pod.Pod, error) {
	f, ok, err := v.resolve(lineage, id)
	if err != nil || !ok {
		return nil, err
	}
	if spare != nil {
		if form := v.tinyForm(f.env); form != nil && spare.ReadWhole(form) == nil {
			if last != nil {
				f.env = nil // it may not stay
				*last = lastRead{f, merged{pod: spare, size: frame{form: form}.size()}}
			}
			return spare, nil
		}
	}
	m, err := v.version(f)
	if err != nil {
		return nil, err
	}
	return m.pod, nil
}

// tinyForm returns the stored form of a version that is tiny, in its row or in a block, in memory that stays, and
// nil of any other. Who gets nil reads it another way, and learns what is wrong with it.
func (v *view) tinyForm(env []byte) []byte {
	if tiny(env) {
		return bytes.Clone(env[2:])
	}
	e, err := decodeEnvelope(env)
	if err != nil || e.how != envPacked || e.length > tinyBytes || v.near != nil {
		return nil
	}
	rec, err := v.tinyMember(&e)
	if err != nil || len(rec) < 2 || rec[0] != 0 || !pod.StandsAlone(rec[1:]) {
		return nil
	}
	return rec[1:]
}

// version returns a found version, from the cache if it is there.
func (v *view) version(f found) (*merged, error) {
	if tiny(f.env) {
		m, err := v.buildBesideReclaim(f)
		if err != nil {
			return nil, fmt.Errorf("pod %d, version number %d: %w", f.pod, f.number, err)
		}
		return m, nil
	}
	if m, ok := v.s.pods.Get(f.number); ok {
		return m, nil
	}
	m, err := v.buildBesideReclaim(f)
	if err != nil {
		return nil, fmt.Errorf("pod %d, version number %d: %w", f.pod, f.number, err)
	}
	v.s.pods.Set(f.number, m, m.cost())
	return m, nil
}

// buildBesideReclaim is build while versions that f rests on may be deleted: then
// f, or what it rests on, was stored whole before (reclaim.go, invariant 4), and
// is read again.
func (v *view) buildBesideReclaim(f found) (*merged, error) {
	return v.buildBesideReclaimWith(f, v.s.pods.Get)
}

func (v *view) buildBesideReclaimWith(f found, cached func(uint64) (*merged, bool)) (*merged, error) {
	for again := false; ; again = true {
		upkept := v.s.upkept.Load()
		m, err := v.build(f, cached)
		if err == nil || again && upkept%2 == 0 && v.s.upkept.Load() == upkept {
			return m, err
		}
		env, ok, got := v.get(versionKey(nil, f.pod, f.line, f.number))
		if got != nil || !ok {
			return nil, err
		}
		f.env = env
	}
}

// build reads a version and what it rests on, and merges from the bottom up.
// cached may cut the way down short.
func (v *view) build(f found, cached func(uint64) (*merged, bool)) (*merged, error) {
	type link struct {
		version *pod.Version
		depth   uint8
		size    uint64
	}
	var links []link
	var m *merged
	for m == nil {
		e, err := decodeEnvelope(f.env)
		if err != nil {
			return nil, err
		}
		rec, err := v.openDecoded(e)
		if err != nil {
			return nil, err
		}
		fr, err := decodeFrame(keep(rec))
		if err != nil {
			return nil, err
		}
		if n := len(links); n > 0 && fr.depth >= links[n-1].depth {
			return nil, corrupt("chain of %d versions rests on one of %d", links[n-1].depth, fr.depth)
		}
		ver, err := pod.DecodeVersion(fr.form)
		if err != nil {
			return nil, err
		}
		if ver.NeedsBase() != (fr.depth > 0) {
			return nil, corrupt("%v with a chain of %d", ver.Kind(), fr.depth)
		}
		if fr.depth > 0 {
			ver.SetGeneration(generationOf(f.line, fr.base.number))
			links = append(links, link{ver, fr.depth, fr.size()})
			if m, f, err = v.base(f, fr.base, cached); err != nil {
				return nil, err
			}
			continue
		}
		body, err := v.body(ver)
		if err != nil {
			return nil, err
		}
		p, err := pod.Merge(nil, ver, body)
		if err != nil {
			return nil, err
		}
		no, _ := ver.SharedBody()
		m = &merged{pod: p, size: fr.size(), body: uint64(no)}
	}
	for i := len(links) - 1; i >= 0; i-- {
		p, err := pod.Merge(m.pod, links[i].version, nil)
		if err != nil {
			return nil, err
		}
		m = &merged{pod: p, depth: links[i].depth, size: links[i].size}
	}
	return m, nil
}

// base finds what f rests on: merged already, or where it is stored.
func (v *view) base(f found, b baseRef, cached func(uint64) (*merged, bool)) (*merged, found, error) {
	if b.number >= f.number {
		return nil, f, corrupt("version number %d rests on %d", f.number, b.number)
	}
	if m, ok := cached(b.number); ok {
		return m, f, nil
	}
	env, ok, err := v.get(versionKey(nil, f.pod, b.line, b.number))
	if err == nil && !ok {
		err = corrupt("version number %d on line %d, the base of %d, is missing", b.number, b.line, f.number)
	}
	return nil, found{f.pod, b.line, b.number, env}, err
}

// body returns the shared body of a version, nil if it has its own.
func (v *view) body(ver *pod.Version) ([]byte, error) {
	no, ok := ver.SharedBody()
	if !ok {
		return nil, nil
	}
	b, ok, err := v.sharedBody(uint64(no))
	if err == nil && !ok {
		err = corrupt("shared body %d is missing", no)
	}
	return keep(b), err
}

func (v *view) sharedBody(no uint64) ([]byte, bool, error) {
	rec, ok, err := v.fetch(recordKey(kindShared, no))
	if err != nil || !ok {
		return nil, false, err
	}
	f, err := decodeFrame(rec)
	if err != nil {
		return nil, false, fmt.Errorf("shared body %d: %w", no, err)
	}
	if f.depth != 0 {
		return nil, false, corrupt("shared body %d has a base", no)
	}
	return f.form, true, nil
}

// tinyBytes is the length up to which a version that lies in its row or in a block at hand, whole, is
// built as fast as the cache finds it.
const tinyBytes = 512

func tiny(env []byte) bool {
	return len(env) > 2 && len(env) <= tinyBytes && env[0] == envInline && env[1] == 0 && pod.StandsAlone(env[2:])
}
