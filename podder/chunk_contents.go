package podder

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"reflect"
	"slices"
	"unsafe"

	"github.com/zeebo/xxh3"

	"github.com/poddb/poddb/internal/pod"
)

// Contents of containers, to be cut and stored: memory that is stored as it lies
// (numbers, strings), or units that are encoded one by one.

// Mean bytes of chunks, in pod targets. Flat memory is cheap to patch and to
// move, so its chunks are as large as delta coding against the version before
// allows (internal/pod).
const (
	chunkMean     = 1
	flatChunkMean = 4
)

// hashChunk hashes what is stored of a chunk, without the head of its slot, and
// its references.
func (e *engine) hashChunk(kind pod.Kind, typ pod.TypeID, units int, body []byte, refs []pod.Ref) hash128 {
	g := e.hashBody128(body)
	var b [40]byte
	binary.LittleEndian.PutUint64(b[0:], g.Hi)
	binary.LittleEndian.PutUint64(b[8:], g.Lo)
	binary.LittleEndian.PutUint64(b[16:], uint64(units))
	binary.LittleEndian.PutUint64(b[24:], uint64(kind)<<32|uint64(typ))
	if len(refs) > 0 {
		table := e.scratch[:0]
		for _, r := range refs {
			table = appendRefBytes(table, r)
		}
		e.scratch = table
		binary.LittleEndian.PutUint64(b[32:], xxh3.HashSeed(table, e.seed))
	}
	h := xxh3.Hash128Seed(b[:], e.seed)
	return hash128{h.Hi, h.Lo}
}

func appendRefBytes(dst []byte, r pod.Ref) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(dst, uint64(r.Pod)), uint32(r.Slot))
}

// storableContents can also be stored.
type storableContents interface {
	chunkContents
	// store returns the slot and the references of a chunk, good until the next
	// call of any method; of flat memory as long as its batch.
	store(from, to int) (pod.Data, []pod.Ref)
}

// flatContents is memory that is stored as it lies.
type flatContents struct {
	e      *encoder // of chunks
	out    *chunkBatches
	kind   pod.Kind
	typ    pod.TypeID
	mem    []byte
	size   int // bytes of a unit
	perRun int
	sizes  chunkSizes
}

func (f *flatContents) units() int { return len(f.mem) / f.size }

func (f *flatContents) hash(from, to int) hash128 {
	return f.e.eng.hashChunk(f.kind, f.typ, to-from, f.mem[from*f.size:to*f.size], nil)
}

func (f *flatContents) cut(from int) (int, hash128) {
	to := from + f.sizes.cutFlat(f.mem[from*f.size:], f.size)/f.size
	return to, f.hash(from, to)
}

func (f *flatContents) fits(from, to int) bool {
	return to-from == 1 || (to-from)*f.size <= f.sizes.most
}

func (f *flatContents) bytes(from, to int) (int, chunkSizes) { return (to - from) * f.size, f.sizes }

func (f *flatContents) store(from, to int) (pod.Data, []pod.Ref) {
	d := pod.Data{Kind: f.kind, Type: f.typ, Bytes: f.mem[from*f.size : to*f.size]}
	if f.kind == pod.SlotString {
		return d, nil
	}
	o := f.out
	start, first := len(o.copied), len(o.runs)
	o.copied = appendArrayHead(o.copied, to-from, f.perRun)
	o.runs = append(o.runs, uint32(len(o.copied)-start))
	o.copied = append(o.copied, d.Bytes...)
	step := f.perRun * f.size
	for left := len(d.Bytes); left > 0; left -= step {
		o.runs = append(o.runs, uint32(min(step, left)))
	}
	d.Bytes, d.Runs = o.copied[start:len(o.copied):len(o.copied)], o.runs[first:len(o.runs):len(o.runs)]
	return d, nil
}

// appendArrayHead appends run 0 of a chunk of n elements.
func appendArrayHead(dst []byte, n, perRun int) []byte {
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = binary.AppendUvarint(dst, uint64(n))
	return binary.AppendUvarint(dst, uint64(perRun))
}

// trimZeros returns how many of n elements of mem are to be stored: elements
// beyond are zero. Not fewer than an eighth of all: memory must stay in proportion
// to what is stored.
func trimZeros(mem []byte, size, extent int) int {
	least := (extent/8 + 1) * size
	end := len(mem)
	for end >= least+8 && end >= 8 && binary.LittleEndian.Uint64(mem[end-8:]) == 0 {
		end -= 8
	}
	for end > least && mem[end-1] == 0 {
		end--
	}
	return (end + size - 1) / size
}

// encodedContents are elements of an array, or entries of a map in the order of
// their keys.
type encodedContents struct {
	e      *encoder // of chunks
	kind   pod.Kind
	typ    pod.TypeID
	n      int
	perRun int
	sizes  chunkSizes
	// unit appends unit k.
	unit func(k int)
	// edges are the first edges of the units that were encoded, and of the next;
	// nil if they have none.
	edges []uint32
	// key is the hash that decides whether a chunk of a map ends behind unit k.
	key      func(k int) uint64
	from, to int // what is in the encoder
	neutral  []byte
	stored   []byte // the slot that store returned
	lengths  []uint32
}

// hole is the code of a reference in the buffer.
type hole struct {
	from, to int
	ref      pod.Ref
}

func (c *encodedContents) units() int { return c.n }

// through has references written through the forwarders that a chunk has.
func (c *encodedContents) through(chunk *podChunk) {
	var via []pod.Ref
	if chunk != nil {
		via = chunk.via
	}
	if len(via)+len(c.e.via) > 0 {
		c.e.via, c.to = via, -1
	}
}

// begin empties the encoder for a chunk that begins at a unit.
func (c *encodedContents) begin(from int) {
	e := c.e
	if c.edges != nil && from >= len(c.edges) {
		if c.encode(len(c.edges)-1, from); e.err != nil {
			return
		}
	}
	e.cur, e.free = -1, 0
	e.buf, e.runs, e.links, e.refs, e.used = e.buf[:0], e.runs[:0], e.links[:0], e.refs[:0], e.used[:0]
	e.numbers.clear()
	e.unnumbered = false
	if c.edges != nil {
		e.edge = c.edges[from]
	}
	c.from, c.to = from, from
}

// next encodes the next unit.
func (c *encodedContents) next() {
	k := c.to
	if c.kind == pod.SlotArray && (k-c.from)%c.perRun == 0 {
		c.e.runs = append(c.e.runs, uint32(len(c.e.buf)))
	}
	c.unit(k)
	c.to++
	if c.edges != nil && len(c.edges) == c.to {
		c.edges = append(roomy(c.edges), c.e.edge)
	}
}

func (c *encodedContents) encode(from, to int) {
	if c.from == from && c.to == to {
		return
	}
	for c.begin(from); c.to < to && c.e.err == nil; {
		c.next()
	}
	c.to = to
}

func (c *encodedContents) fits(from, to int) bool {
	if c.encode(from, to); c.e.err != nil {
		return true // nothing comes of it
	}
	return to-from == 1 || len(c.e.buf) <= c.sizes.most
}

func (c *encodedContents) bytes(from, to int) (int, chunkSizes) {
	c.encode(from, to)
	return c.taken(), c.sizes
}

// taken is what the units in the encoder are about to take.
func (c *encodedContents) taken() int { return len(c.e.buf) + (refEstimate-1)*len(c.e.refs) }

func (c *encodedContents) sum() hash128 {
	return c.e.eng.hashChunk(c.kind, c.typ, c.to-c.from, c.e.buf, c.e.refs)
}

func (c *encodedContents) hash(from, to int) hash128 {
	c.encode(from, to)
	return c.sum()
}

// refEstimate is what a reference adds to a chunk: its code and its place in the
// table.
const refEstimate = 4

func (c *encodedContents) cut(from int) (int, hash128) {
	e := c.e
	h := uint64(0)
	e.noting = true
	for c.begin(from); c.to < c.n && e.err == nil; {
		e.holes = e.holes[:0]
		start := len(e.buf)
		c.next()
		size := len(e.buf) - start
		if c.key != nil {
			h = gearMix(c.key(c.to - 1))
			for _, x := range e.holes {
				size += refEstimate - (x.to - x.from)
			}
		} else {
			unit := e.buf[start:]
			if size = len(unit); len(e.holes) > 0 {
				size = c.neutralUnit(start)
				unit = c.neutral
			}
			h = h<<gearShift + xxh3.HashSeed(unit, e.eng.seed)
		}
		if total := c.taken(); total >= c.sizes.most || total >= c.sizes.least && c.sizes.ends(h, size) {
			break
		}
	}
	e.noting = false
	if e.err != nil {
		return c.n, hash128{} // nothing comes of it, but the matcher must get to its end
	}
	return c.to, c.sum()
}

// neutralUnit puts the unit that begins at start of the buffer into neutral,
// with places instead of reference numbers, and returns what it takes.
func (c *encodedContents) neutralUnit(start int) (size int) {
	e := c.e
	c.neutral = c.neutral[:0]
	for _, x := range e.holes {
		c.neutral = append(c.neutral, e.buf[start:x.from]...)
		c.neutral = appendRefBytes(c.neutral, x.ref)
		size += refEstimate + x.from - start
		start = x.to
	}
	c.neutral = append(c.neutral, e.buf[start:]...)
	return size + len(e.buf) - start
}

func (c *encodedContents) store(from, to int) (pod.Data, []pod.Ref) {
	c.encode(from, to)
	e := c.e
	d := pod.Data{Kind: c.kind, Type: c.typ}
	c.stored, c.lengths = c.stored[:0], c.lengths[:0]
	if c.kind == pod.SlotMap {
		c.stored = append(binary.AppendUvarint(c.stored, uint64(to-from)), 0)
		c.lengths = append(c.lengths, uint32(len(c.stored)), uint32(len(e.buf)))
	} else {
		c.stored = appendArrayHead(c.stored, to-from, c.perRun)
		c.lengths = append(c.lengths, uint32(len(c.stored)))
		for i, start := range e.runs {
			end := len(e.buf)
			if i+1 < len(e.runs) {
				end = int(e.runs[i+1])
			}
			c.lengths = append(c.lengths, uint32(end)-start)
		}
	}
	c.stored = append(c.stored, e.buf...)
	d.Bytes, d.Runs = c.stored, c.lengths
	return d, e.refs
}

// arrayContents are the elements of array r, encoded.
func (e *encoder) arrayContents(r *region, sp *span) *encodedContents {
	one := e.value
	if r.plan.flat {
		one = e.fixed
	}
	addr, pl := r.addr, r.plan
	c := &encodedContents{e: e, kind: pod.SlotArray, n: sp.reach, perRun: sp.perRun, from: -1}
	c.unit = func(k int) { one(pl, unsafe.Add(addr, uintptr(k)*pl.size)) }
	if pl.only == opString {
		c.unit = func(k int) {
			at := unsafe.Add(addr, uintptr(k)*pl.size)
			if s := *(*string)(at); len(s) < longString {
				e.buf = appendShort(e.buf, s)
			} else {
				one(pl, at)
			}
		}
	}
	if len(pl.refs) > 0 {
		c.edges = []uint32{r.edge}
	}
	return c
}

// mapContents are the entries of map r, in the order of their key hash. Keys with
// references are hashed with the places that these lead to.
func (e *encoder) mapContents(r *region, m *mapEntries) *encodedContents {
	pl := r.plan
	c := &encodedContents{e: e, kind: pod.SlotMap, n: m.count(), from: -1}
	entry := func(at unsafe.Pointer) {
		e.value(pl.key, at)
		e.value(pl.elem, unsafe.Add(at, pl.layout.elem))
	}
	if hashes, keys := m.hashes, m.at; hashes != nil || c.n == 0 {
		c.key = func(k int) uint64 { return hashes[k] }
		c.unit = func(k int) { entry(keys[k]) }
		if rows := e.rowsOf(m); rows != nil {
			c.unit = func(k int) { e.row(rows, k) }
		}
		if len(pl.key.refs) > 0 || len(pl.elem.refs) > 0 {
			c.edges = []uint32{r.edge}
		}
		return c
	}
	units := e.entryUnits(r, c, m)
	c.key = func(k int) uint64 { return units[k].hash }
	c.unit = func(k int) {
		e.edge = units[k].edge
		entry(units[k].at)
	}
	return c
}

// entryUnit is an entry of a map whose keys depend on placement.
type entryUnit struct {
	hash uint64
	edge uint32
	at   unsafe.Pointer // of the key
}

// entryUnits orders the entries of such a map.
func (e *encoder) entryUnits(r *region, c *encodedContents, m *mapEntries) []entryUnit {
	pl := r.plan
	units := make([]entryUnit, 0, m.count())
	e.noting = true
	e.edge = r.edge
	e.numbers.clear()
	e.unnumbered = false
	key := func(u *entryUnit) []byte {
		c.begin(0)
		e.edge, e.holes = u.edge, e.holes[:0]
		e.value(pl.key, u.at)
		c.neutralUnit(0)
		return c.neutral
	}
	neutral := func(u *entryUnit) {
		u.hash = e.eng.hashKey(key(u))
		e.value(pl.elem, unsafe.Add(u.at, pl.layout.elem))
		c.neutralUnit(0)
	}
	for _, at := range m.at {
		u := entryUnit{edge: e.edge, at: at}
		neutral(&u)
		units = append(units, u)
	}
	text := func(u entryUnit) []byte {
		neutral(&u)
		return slices.Clone(c.neutral)
	}
	slices.SortStableFunc(units, func(a, b entryUnit) int {
		if x := cmp.Compare(a.hash, b.hash); x != 0 {
			return x
		}
		return bytes.Compare(text(a), text(b))
	})
	for k := 1; k < len(units); k++ {
		if a, b := &units[k-1], &units[k]; a.hash == b.hash && bytes.Equal(slices.Clone(key(a)), key(b)) {
			e.alike(reflect.NewAt(pl.key.typ, a.at).Elem(), reflect.NewAt(pl.key.typ, b.at).Elem())
		}
	}
	e.noting = false
	c.from, c.to = -1, -1
	return units
}
