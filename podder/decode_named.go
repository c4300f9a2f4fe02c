package podder

import (
	"reflect"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// A reference says of what it leads to only the text of the type. If that is a name
// which the program does not have, and the program has a struct there, the name may be
// that of an interface, whose values may convert, or that of another struct, whose
// values never do. The catalogue knows. If it does not have the name, nothing is stored
// under it.

// unsureName is a reference to values that are stored under a name which the program
// does not have, read as one to a struct.
type unsureName struct {
	text string       // the name
	want reflect.Type // the struct
	// The reference, for the error that says that it does not fit.
	path string
	node *node
	typ  reflect.Type
}

// placeUnsure gives the names that were noted since there were `from` of them their
// place, unless one further in has done so.
func (c *compiler) placeUnsure(from int, n *node, t reflect.Type, path string) {
	for i := from; i < len(c.unsure); i++ {
		if u := &c.unsure[i]; u.node == nil {
			u.path, u.node, u.typ = path, n, t
		}
	}
}

// plan is Registry.plan, with the catalogue asked about what texts do not tell.
func (l *loader) plan(descriptor []byte, n *node, t reflect.Type) (*decodePlan, error) {
	pl, err := l.reg.plan(descriptor, n, t)
	if err != nil {
		return nil, err
	}
	for i := range pl.unsure {
		if err := l.checkUnsure(&pl.unsure[i]); err != nil {
			return nil, err
		}
	}
	return pl, nil
}

// checkUnsure refuses a reference if all that is stored under the name is something
// that the program's type cannot be read from.
func (l *loader) checkUnsure(u *unsureName) error {
	stored, err := l.storedUnder(u.text)
	if err != nil {
		return err
	}
	for _, n := range stored {
		c := compiler{reg: l.reg}
		if _, err := c.compile(n, u.want, u.path); err == nil {
			return nil
		}
	}
	if len(stored) == 0 {
		return nil
	}
	c := compiler{reg: l.reg}
	return c.mismatch(u.path, u.node, u.typ)
}

// storedUnder returns the layouts that the catalogue has of a name.
func (l *loader) storedUnder(text string) ([]*node, error) {
	c, ok := l.src.(Catalogue)
	if !ok {
		return nil, nil
	}
	var found []*node
	err := c.Types(l.ctx, pod.FirstCatalogType, func(id pod.TypeID, d []byte) error {
		n, err := l.reg.parsed(d)
		if err != nil {
			return dberr.Corrupt("", -1, "type %d: %v", id, err)
		}
		n.eachPart(func(part *node) {
			if part.text == text && part.kind != nodeEntries && part.kind != nodeNamed {
				found = append(found, part)
			}
		})
		return nil
	})
	return found, err
}

// eachPart calls fn with n and all parts of it.
func (n *node) eachPart(fn func(*node)) {
	fn(n)
	for _, part := range []*node{n.key, n.elem} {
		if part != nil {
			part.eachPart(fn)
		}
	}
	for i := range n.fields {
		n.fields[i].node.eachPart(fn)
	}
}
