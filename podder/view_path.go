package podder

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
)

// selector is one step of a path a person typed: .Field, [3] or ["key"].
type selector struct {
	text string // as typed
	name string // field or key
	key  bool   // in brackets
}

// splitPath cuts `x.Items[3].Name` into the variable and its selectors. A
// variable's name may contain any bytes if no selectors follow; has tells
// which prefix is a variable, and the longest one wins.
func splitPath(path string, has func(string) (bool, error)) (string, []selector, error) {
	for end := len(path); end > 0; end-- {
		if end < len(path) && path[end] != '.' && path[end] != '[' {
			continue
		}
		ok, err := has(path[:end])
		if err != nil {
			return "", nil, err
		}
		if ok {
			sel, err := parseSelectors(path[end:])
			return path[:end], sel, err
		}
	}
	return "", nil, fmt.Errorf("%w: no variable at the start of %q", dberr.ErrNotFound, path)
}

func parseSelectors(s string) ([]selector, error) {
	var out []selector
	for s != "" {
		var one selector
		rest := s[1:]
		switch s[0] {
		case '.':
			n := strings.IndexAny(rest, ".[")
			if n < 0 {
				n = len(rest)
			}
			one.name, rest = rest[:n], rest[n:]
		case '[':
			one.key = true
			if strings.HasPrefix(rest, `"`) {
				q, err := strconv.QuotedPrefix(rest)
				if err != nil {
					return nil, fmt.Errorf("%w: bad quoted key in %q", dberr.ErrInvalid, s)
				}
				if one.name, err = strconv.Unquote(q); err != nil {
					return nil, fmt.Errorf("%w: bad quoted key in %q", dberr.ErrInvalid, s)
				}
				rest = rest[len(q):]
			} else if n := strings.IndexByte(rest, ']'); n >= 0 {
				one.name, rest = rest[:n], rest[n:]
			}
			if !strings.HasPrefix(rest, "]") {
				return nil, fmt.Errorf("%w: no ] in %q", dberr.ErrInvalid, s)
			}
			rest = rest[1:]
		default:
			return nil, fmt.Errorf("%w: %q is no selector; use .Field, [3] or [\"key\"]", dberr.ErrInvalid, s)
		}
		one.text = s[:len(s)-len(rest)]
		out = append(out, one)
		s = rest
	}
	return out, nil
}

// open follows pointers and interfaces to the value behind them.
func (v *viewer) open(w view) (view, error) {
	for range maxNodeDepth {
		if w.n == nil {
			return w, nil
		}
		switch w.n.kind {
		case nodePointer:
			r, err := v.pointer(w.at, w.in, &w.c)
			if err != nil {
				return w, err
			}
			if r.null || r.zeroSize {
				return view{}, nil
			}
			if w, err = v.resolve(r, w.n.valText); err != nil {
				return w, err
			}
		case nodeInterface:
			id := w.c.uvarint()
			if id == 0 {
				return view{}, nil
			}
			n, err := v.node(typeIDOf(id))
			if err != nil {
				return w, err
			}
			w.n, w.fixed = n, false
		default:
			return w, nil
		}
	}
	return w, v.corrupt(w.at, "pointers nest deeper than %d", maxNodeDepth)
}

// choose applies one selector.
func (v *viewer) choose(w view, s selector) (view, error) {
	w, err := v.open(w)
	if err != nil {
		return w, err
	}
	if w.n == nil {
		return w, fmt.Errorf("%w: nothing behind nil for %s", dberr.ErrNotFound, s.text)
	}
	switch w.n.kind {
	case nodeStruct:
		for i := range w.n.fields {
			if f := &w.n.fields[i]; f.name == s.name && !s.key {
				return v.part(w, uint64(f.id))
			}
		}
		return w, fmt.Errorf("%w: %s has no field %s", dberr.ErrNotFound, w.n.text, s.text)
	case nodeArray:
		i, err := strconv.ParseUint(s.name, 10, 64)
		if err != nil || i >= w.n.length {
			return w, fmt.Errorf("%w: %s is not in %s", dberr.ErrNotFound, s.text, w.n.text)
		}
		return v.part(w, i)
	case nodeSlice:
		return v.chooseElem(w, s)
	case nodeMap:
		return v.chooseEntry(w, s)
	}
	return w, fmt.Errorf("%w: %s has no parts for %s", dberr.ErrNotFound, w.n.text, s.text)
}

func (v *viewer) chooseElem(w view, s selector) (view, error) {
	sl, err := v.slice(&w)
	if err != nil {
		return w, err
	}
	i, err := strconv.ParseUint(s.name, 10, 64)
	if err != nil || i >= sl.length {
		return w, fmt.Errorf("%w: %s is not in a %s of length %d", dberr.ErrNotFound, s.text, w.n.text, sl.length)
	}
	if sl.zeroSize {
		return view{}, nil
	}
	return sl.elem(v, i)
}

func (v *viewer) chooseEntry(w view, s selector) (view, error) {
	var found view
	hit := false
	_, err := v.entries(&w, func(key, val view) error {
		k, err := v.keyText(key)
		if err == nil && k == s.name && !hit {
			hit, found = true, val
		}
		return err
	})
	if err == nil && !hit {
		err = fmt.Errorf("%w: no key %s in %s", dberr.ErrNotFound, s.text, w.n.text)
	}
	return found, err
}
