package podder

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// StoredType describes how values of one type are laid out, in the catalogue of
// a database or in a program.
type StoredType struct {
	ID   uint32 `json:"id,omitempty"` // in the catalogue; 0 for a part of others, and in a program
	Name string `json:"name"`
	// Kind is bool, int, string … as in package reflect, or codec, or value: an object
	// of the program that is stored by its name.
	Kind     string        `json:"kind"`
	Elem     string        `json:"elem,omitempty"`     // of pointers, slices, arrays, maps
	Key      string        `json:"key,omitempty"`      // of maps
	Len      uint64        `json:"len,omitempty"`      // of arrays
	Codec    string        `json:"codec,omitempty"`    // name and version
	Value    string        `json:"value,omitempty"`    // name of the object
	Module   string        `json:"module,omitempty"`   // of a struct of a package that the program has allowed: version and layout
	Entries  bool          `json:"entries,omitempty"`  // the contents of maps of the type
	Fields   []StoredField `json:"fields,omitempty"`   // of structs
	Aliases  []string      `json:"aliases,omitempty"`  // other names that the program reads as this type
	Migrates []string      `json:"migrates,omitempty"` // names whose values the program migrates to this type
	// Values counts the objects, array elements, maps and variables of exactly this
	// type, if that was asked for: what lies in another value is part of that one.
	Values int64 `json:"values,omitempty"`
}

// StoredField is a field of a struct.
type StoredField struct {
	Name string   `json:"name"`
	Type string   `json:"type"`
	Kind string   `json:"kind"`
	Was  []string `json:"was,omitempty"` // former names
}

// DescribeStored describes a descriptor of the catalogue: the type itself first,
// then the named types that are parts of it.
func DescribeStored(id pod.TypeID, descriptor []byte) ([]StoredType, error) {
	n, err := parseDescriptor(descriptor)
	if err != nil {
		return nil, fmt.Errorf("type %d: %w", id, err)
	}
	list := appendStored(nil, n)
	list[0].ID = uint32(id)
	return list, nil
}

func appendStored(list []StoredType, n *node) []StoredType {
	t := StoredType{Name: n.text, Kind: n.kindName(), Elem: n.valText, Key: n.keyText, Len: n.length}
	var parts []*node
	switch n.kind {
	case nodeCodec, nodeHanded:
		t.Kind, t.Codec = "codec", fmt.Sprintf("%s %d", n.codec, n.version)
	case nodeNamed:
		t.Value = n.codec
	case nodeArray:
		t.Elem = n.elem.text
		parts = append(parts, n.elem)
	case nodeEntries:
		t.Entries, t.Key, t.Elem = true, n.key.text, n.elem.text
		parts = append(parts, n.key, n.elem)
	}
	if n.foreign != nil {
		t.Module = n.foreign.String()
	}
	for i := range n.fields {
		f := &n.fields[i]
		t.Fields = append(t.Fields, StoredField{Name: f.name, Type: f.node.text, Kind: f.node.kindName()})
		parts = append(parts, f.node)
	}
	list = append(list, t)
	for _, p := range parts {
		if p.kind == nodeStruct || p.kind == nodeArray || p.kind == nodeBasic && p.text != basicKind(p.basic).String() {
			list = appendStored(list, p)
		}
	}
	return list
}

// DescribeProgram describes the types that a program registers, and all that
// they and the types of its variables lead to, sorted by name.
func (r *Registry) DescribeProgram(roots []reflect.Type) ([]StoredType, error) {
	seen := map[reflect.Type]bool{}
	var list []StoredType
	for _, root := range append(r.registeredTypes(), roots...) {
		for t := range r.reachable(root) {
			if seen[t] || t.Kind() == reflect.Interface || r.kindOf(t) == nodeNilOnly {
				continue
			}
			seen[t] = true
			d, err := describe(r, t)
			if err != nil {
				return nil, err
			}
			all, err := DescribeStored(0, d)
			if err != nil {
				return nil, err
			}
			list = append(list, r.withHistory(all[0], t))
		}
	}
	slices.SortFunc(list, func(a, b StoredType) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// withHistory adds what a type and its fields were called, and what migrates.
func (r *Registry) withHistory(st StoredType, t reflect.Type) StoredType {
	r.mu.RLock()
	st.Aliases = slices.Clone(r.aliases[t])
	for name, ms := range r.migrations {
		for _, m := range ms {
			if r.last(m.now) == t && !slices.Contains(st.Migrates, name) {
				st.Migrates = append(st.Migrates, name)
			}
		}
	}
	r.mu.RUnlock()
	slices.Sort(st.Migrates)
	if st.Kind == "struct" {
		for i, f := range storedFields(t) {
			st.Fields[i].Was = formerNames(f)
		}
	}
	return st
}

// CountValues counts slots by type in what the named variables reach; elements of
// arrays count each.
func CountValues(ctx context.Context, src pod.Source, names []string) (map[uint32]int64, error) {
	counts := map[uint32]int64{}
	chunks := map[pod.ID]bool{} // parts of maps and strings
	seen := map[pod.ID]bool{}
	var todo []pod.ID
	add := func(id pod.ID) {
		if id != 0 && !seen[id] {
			seen[id] = true
			todo = append(todo, id)
		}
	}
	for _, name := range names {
		id, err := src.Root(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("variable %q: %w", name, err)
		}
		add(id)
	}
	for len(todo) > 0 {
		n := min(len(todo), fetchBatch)
		ids := todo[:n]
		pods, err := src.Pods(ctx, ids)
		if err != nil {
			return nil, err
		}
		todo = todo[n:]
		for i, p := range pods {
			for _, d := range p.Slots {
				switch {
				case d.Kind == pod.SlotFree || d.Kind == pod.SlotForward || chunks[ids[i]]:
				case d.Kind == pod.SlotChunks && storedKind(&d) == pod.SlotArray: // its chunks are counted
				case d.Kind == pod.SlotChunks:
					list, wrong := parseChunks(&d, p.Refs)
					if wrong != "" {
						return nil, dberr.Corrupt("", -1, "pod %d: %s", ids[i], wrong)
					}
					for _, c := range list.chunks {
						chunks[c.id] = true
					}
					counts[uint32(d.Type)]++
				case d.Kind == pod.SlotArray:
					c := cursor{buf: d.Run(0)}
					c.uvarint()
					counts[uint32(d.Type)] += int64(min(c.uvarint(), 1<<46))
				default:
					counts[uint32(d.Type)]++
				}
			}
			for _, ref := range p.Refs {
				add(ref.Pod)
			}
		}
	}
	return counts, nil
}
