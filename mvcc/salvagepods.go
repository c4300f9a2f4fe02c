package mvcc

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// Reading everything that the new database will have, once, as a reader would:
// each pod version is merged with what it rests on.
//
//  1. A version that cannot be read becomes a lost one. So does one whose base or
//     shared body cannot be read: nothing else knows what it was.
//  2. A version that rests on one that no commit has any more (garbage) is stored
//     whole.
//  3. Users of shared bodies, content keys and type hashes are made from what was
//     read. A body without users is left out.
//  4. A type that slots name and that cannot be read gets a lost row: the pods stay,
//     and loading says what is missing.
type contentsOf struct {
	users  map[uint64]uint64
	types  map[pod.TypeID]bool
	sizes  map[uint64]uint64 // of versions in removed sets that changed
	pods   recent[*merged]
	bodies recent[[]byte]
}

// recent keeps the values used last, up to a cost in bytes.
type recent[V any] struct {
	values map[string]V
	order  []string
	costs  []int64
	cost   int64
}

const recentMax = 32 << 20

func (r *recent[V]) put(key string, v V, cost int64) {
	if r.values == nil {
		r.values = map[string]V{}
	}
	for len(r.order) > 0 && r.cost+cost > recentMax {
		delete(r.values, r.order[0])
		r.cost -= r.costs[0]
		r.order, r.costs = r.order[1:], r.costs[1:]
	}
	r.values[key] = v
	r.order, r.costs, r.cost = append(r.order, key), append(r.costs, cost), r.cost+cost
}

// readAll is step 4.
func (s *salvager) readAll() error {
	s.users, s.types, s.sizes = map[uint64]uint64{}, map[pod.TypeID]bool{}, map[uint64]uint64{}
	for v := range s.changed {
		if row := s.commits[v]; row != nil {
			for n := range row.removed.All() {
				s.sizes[n] = 0
			}
		}
	}
	done := uint64(0)
	for _, key := range s.keysOf(kindVersion) {
		if done++; done%64 == 0 {
			if err := s.step(int64(float64(done) / float64(s.claimed.Len()+1) * float64(s.scan.Size()))); err != nil {
				return err
			}
		}
		s.readVersion(key)
	}
	s.readBodies()
	s.readTypes()
	for v := range s.changed {
		if row := s.commits[v]; row != nil {
			row.goneByte = 0
			for n := range row.removed.All() {
				row.goneByte += s.sizes[n]
			}
		}
	}
	return s.ctx.Err()
}

// keysOf returns the keys of a kind, in order.
func (s *salvager) keysOf(kind byte) []string {
	var keys []string
	for k := range s.rows {
		if k[0] == kind {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// readVersion reads one version and counts what it uses.
func (s *salvager) readVersion(k string) {
	id, _, number, _ := splitVersionKey([]byte(k))
	if s.rows[k][0] == envTombstone {
		return // a collect took the pod away
	}
	m, err := s.merge(k, maxDepth+1)
	if err != nil {
		s.rows[k] = []byte{envLost}
		s.report.LostPodVersions++
		s.lose(Loss{Version: s.versionOf(number), Pod: id, What: fmt.Sprintf("pod version number %d: %v", number, err)})
		return
	}
	if m.depth > 0 && s.restsOnSpare(k) {
		f := frame{form: pod.AppendWhole(nil, m.pod)}
		s.rows[k] = appendFrame([]byte{envInline}, f)
		m = &merged{pod: m.pod, size: f.size()}
	}
	if m.body != 0 {
		s.users[m.body]++
	}
	for i := range m.pod.Slots {
		if t := m.pod.Slots[i].Type; t >= pod.FirstCatalogType {
			s.types[t] = true
		}
	}
	if _, ok := s.sizes[number]; ok {
		s.sizes[number] = m.size
	}
}

// versionOf returns the version that added a number.
func (s *salvager) versionOf(number uint64) Version {
	if s.ordered == nil {
		s.ordered = sortedKeys(s.commits)
	}
	i, _ := slices.BinarySearchFunc(s.ordered, number, func(v Version, number uint64) int {
		return cmp.Compare(s.commits[v].last, number)
	})
	for _, v := range s.ordered[i:] {
		births := &Set{}
		if s.commits[v].births(births); births.Contains(number) {
			return v
		}
	}
	return 0
}

// rowOf returns the row of a pod version, kept or not.
func (s *salvager) rowOf(k string) ([]byte, bool) {
	if env, ok := s.rows[k]; ok {
		return env, true
	}
	env, ok := s.spare[k]
	return env, ok
}

func (s *salvager) restsOnSpare(k string) bool {
	rec, ok := s.contents([]byte(k), s.rows[k])
	if !ok {
		return false
	}
	f, err := decodeFrame(rec)
	id, _, _, _ := splitVersionKey([]byte(k))
	_, spare := s.spare[string(versionKey(nil, id, f.base.line, f.base.number))]
	return err == nil && spare
}

// merge returns a version as a reader sees it. Its chain must be shorter than
// below.
func (s *salvager) merge(k string, below uint8) (*merged, error) {
	if m, ok := s.pods.values[k]; ok && m.depth < below {
		return m, nil
	}
	env, ok := s.rowOf(k)
	if !ok {
		return nil, corrupt("the version that it rests on is missing")
	}
	rec, ok := s.contents([]byte(k), env)
	if !ok {
		return nil, corrupt("its contents cannot be read")
	}
	f, err := decodeFrame(rec)
	if err != nil {
		return nil, err
	}
	ver, err := pod.DecodeVersion(f.form)
	if err != nil {
		return nil, err
	}
	id, line, number, _ := splitVersionKey([]byte(k))
	if ver.NeedsBase() != (f.depth > 0) || f.depth >= below || f.depth > 0 && f.base.number >= number {
		return nil, corrupt("a chain of %d versions where less than %d are expected", f.depth, below)
	}
	var base *pod.Pod
	var body []byte
	if f.depth > 0 {
		b, err := s.merge(string(versionKey(nil, id, f.base.line, f.base.number)), f.depth)
		if err != nil {
			return nil, fmt.Errorf("it rests on number %d: %w", f.base.number, err)
		}
		base = b.pod
		ver.SetGeneration(generationOf(line, f.base.number))
	}
	no, shared := ver.SharedBody()
	if shared {
		if body, err = s.sharedBody(uint64(no)); err != nil {
			return nil, err
		}
	}
	p, err := pod.Merge(base, ver, body)
	if err != nil {
		return nil, err
	}
	m := &merged{pod: p, depth: f.depth, size: f.size(), body: uint64(no)}
	s.pods.put(k, m, m.cost())
	return m, nil
}

// sharedBody returns a shared body.
func (s *salvager) sharedBody(no uint64) ([]byte, error) {
	k := string(recordKey(kindShared, no))
	if b, ok := s.bodies.values[k]; ok {
		return b, nil
	}
	rec, ok := s.contents([]byte(k), s.rows[k])
	if !ok {
		return nil, corrupt("its shared body %d cannot be read", no)
	}
	f, err := decodeFrame(rec)
	if err != nil || f.depth != 0 {
		return nil, corrupt("shared body %d: %v", no, err)
	}
	s.bodies.put(k, f.form, int64(len(f.form)))
	return f.form, nil
}

// readBodies makes the rows of shared bodies (rule 3).
func (s *salvager) readBodies() {
	for _, k := range s.keysOf(kindShared) {
		no := be.Uint64(append([]byte(k[1:]), make([]byte, 8)...))
		b, err := s.sharedBody(no)
		if err != nil {
			s.report.LostBodies++
			s.lose(Loss{What: fmt.Sprintf("shared body %d", no)})
		}
		if err != nil || s.users[no] == 0 || len(k) != 9 {
			delete(s.rows, k)
			continue
		}
		s.derived[string(hashKey(kindContent, blake(b)))] = be.AppendUint64(nil, no)
		s.report.SharedBodies++
	}
}

// readTypes makes the rows of types (rule 4).
func (s *salvager) readTypes() {
	for t := range s.types {
		if k := string(typeKey(t)); s.rows[k] == nil {
			s.rows[k] = []byte{envLost}
		}
	}
	for _, k := range s.keysOf(kindType) {
		if len(k) != 5 {
			delete(s.rows, k)
			continue
		}
		id := be.Uint32([]byte(k[1:]))
		s.counters.typ = max(s.counters.typ, uint64(id)+1)
		s.report.Types++
		if d, ok := s.contents([]byte(k), s.rows[k]); ok {
			s.derived[string(hashKey(kindTypeHash, blake(d)))] = be.AppendUint32(nil, id)
			continue
		}
		s.rows[k] = []byte{envLost}
		s.report.LostTypes++
		s.lose(Loss{What: fmt.Sprintf("the descriptor of type %d", id)})
	}
}
