package podder

import (
	"github.com/poddb/poddb/internal/pod"
)

// chunksOf reads the list of a container in chunks.
func (v *viewer) chunksOf(at target, p *pod.Pod, d pod.Data) (*chunkList, error) {
	list, wrong := parseChunks(&d, p.Refs)
	if wrong != "" {
		return nil, v.corrupt(at, "%s", wrong)
	}
	return list, nil
}

// chunkAt fetches one chunk of a container.
func (v *viewer) chunkAt(kind pod.Kind, typ pod.TypeID, c *podChunk) (*pod.Pod, pod.Data, error) {
	p, err := v.fetch(c.id)
	if err != nil {
		return nil, pod.Data{}, err
	}
	if len(p.Slots) != 1 || p.Slots[0].Kind != kind || p.Slots[0].Type != typ {
		return nil, pod.Data{}, v.corrupt(target{pod: c.id}, "not a chunk of the container that names it")
	}
	return p, p.Slots[0], nil
}

// eachPart calls f with each chunk of a container.
func (v *viewer) eachPart(at target, p *pod.Pod, d pod.Data, f func(target, *pod.Pod, pod.Data) error) error {
	list, err := v.chunksOf(at, p, d)
	if err != nil {
		return err
	}
	for i := range list.chunks {
		c := &list.chunks[i]
		in, part, err := v.chunkAt(list.kind, d.Type, c)
		if err == nil {
			err = f(target{pod: c.id}, in, part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *viewer) chunkedArray(at target, in *pod.Pod, d pod.Data) (array, error) {
	list, err := v.chunksOf(at, in, d)
	if err != nil {
		return array{}, err
	}
	if list.kind != pod.SlotArray {
		return array{}, v.corrupt(at, "slot of kind %d where an array is referred to", list.kind)
	}
	n, err := v.node(d.Type)
	if err != nil {
		return array{}, err
	}
	a := array{at: at, in: in, data: d, elemN: n, numeric: isNumericNode(n), stored: list.stored, chunks: list.chunks, kept: list.stored}
	if a.numeric {
		// Zeros at the end are left out, but for an eighth of all (trimZeros).
		if list.extent/8 > list.stored {
			return a, v.corrupt(at, "%d of %d numbers stored", list.stored, list.extent)
		}
		a.stored = list.extent
	}
	return a, nil
}

// chunkElem is elem for an array in chunks.
func (a array) chunkElem(v *viewer, i uint64) (view, error) {
	if i >= a.kept {
		return a.zero(), nil
	}
	part, first, err := a.chunk(v, i)
	if err != nil {
		return view{}, err
	}
	return part.elem(v, i-first)
}

// zero is an element of numbers that are zero.
func (a array) zero() view {
	return view{at: a.at, in: a.in, n: a.elemN, c: cursor{buf: make([]byte, zeroWidth(a.elemN))}, fixed: true}
}

// maxZeroWidth bounds the zeros that are made for one element.
const maxZeroWidth = 1 << 20

// zeroWidth is the stored size of a number, or array of numbers.
func zeroWidth(n *node) uint64 {
	if n.kind != nodeArray {
		return basicWidth(n.basic)
	}
	w := zeroWidth(n.elem)
	if w == 0 || n.length > maxZeroWidth/w {
		return 0 // reading it is an error
	}
	return w * n.length
}

// chunk returns the chunk that has element i, and the number of its first one.
func (a array) chunk(v *viewer, i uint64) (array, uint64, error) {
	first := uint64(0)
	k := 0
	for i-first >= a.chunks[k].units {
		first += a.chunks[k].units
		k++
	}
	c := &a.chunks[k]
	in, d, err := v.chunkAt(pod.SlotArray, a.data.Type, c)
	if err != nil {
		return array{}, 0, err
	}
	part, err := v.array(target{pod: c.id}, in, d)
	if err == nil && part.stored != c.units {
		err = v.corrupt(target{pod: c.id}, "chunk of %d elements, the list says %d", part.stored, c.units)
	}
	return part, first, err
}

// eachChunk is each for an array in chunks.
func (a array) eachChunk(v *viewer, from, n uint64, f func(i uint64, w *view) error) error {
	for i := uint64(0); i < n; {
		at := from + i
		if at >= a.kept {
			zero := view{at: a.at, in: a.in}
			if at < a.stored {
				zero = a.zero()
			}
			if err := f(i, &zero); err != nil {
				return err
			}
			i++
			continue
		}
		part, first, err := a.chunk(v, at)
		if err != nil {
			return err
		}
		k := min(n-i, part.stored-(at-first))
		err = part.each(v, at-first, k, func(j uint64, w *view) error { return f(i+j, w) })
		if err != nil {
			return err
		}
		i += k
	}
	return nil
}

// chunkedString reads n bytes of a string in chunks.
func (v *viewer) chunkedString(at target, p *pod.Pod, d pod.Data, from, n uint64) (string, error) {
	list, err := v.chunksOf(at, p, d)
	if err != nil {
		return "", err
	}
	if from > list.stored || n > list.stored-from {
		return "", v.corrupt(at, "string [%d, +%d) of %d bytes", from, n, list.stored)
	}
	var text []byte
	first := uint64(0)
	for i := range list.chunks {
		c := &list.chunks[i]
		lo, hi := max(from, first), min(from+n, first+c.units)
		if lo < hi {
			_, part, err := v.chunkAt(pod.SlotString, d.Type, c)
			if err != nil {
				return "", err
			}
			if uint64(len(part.Bytes)) != c.units {
				return "", v.corrupt(target{pod: c.id}, "chunk of %d bytes, the list says %d", len(part.Bytes), c.units)
			}
			text = append(text, part.Bytes[lo-first:hi-first]...)
		}
		first += c.units
	}
	return string(text), nil
}
