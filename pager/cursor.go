package pager

// Cursor walks the keys of a View in order. It belongs to the View and to one
// goroutine.
type Cursor struct {
	v     *View
	stack []step // root first
	key   []byte
	err   error
	valid bool
}

type step struct {
	page *page
	at   int
}

// Seek returns a cursor at the first key ≥ key; nil is the first key of all.
func (v *View) Seek(key []byte) *Cursor {
	c := &Cursor{v: v}
	c.Seek(key)
	return c
}

// SeekBefore returns a cursor at the last key < key.
func (v *View) SeekBefore(key []byte) *Cursor {
	c := &Cursor{v: v}
	c.SeekBefore(key)
	return c
}

// Valid reports whether the cursor is at a key.
func (c *Cursor) Valid() bool { return c.valid }

// Err is the error that ended the walk, or nil.
func (c *Cursor) Err() error { return c.err }

// Key is valid until the cursor moves; nil if the cursor is not at a key.
func (c *Cursor) Key() []byte {
	if !c.valid {
		return nil
	}
	return c.key
}

// Value shares memory with the page cache: it stays valid, and must not be
// changed; nil if the cursor is not at a key.
func (c *Cursor) Value() []byte {
	if !c.valid {
		return nil
	}
	s := &c.stack[len(c.stack)-1]
	return s.page.value(s.at)
}

// Seek moves to the first key ≥ key.
func (c *Cursor) Seek(key []byte) {
	if !c.start() || !c.descendTo(key) {
		return
	}
	s := &c.stack[len(c.stack)-1]
	if s.at == s.page.count {
		s.at--
		c.valid = true
		c.Next()
		return
	}
	c.settle()
}

// SeekBefore moves to the last key < key.
func (c *Cursor) SeekBefore(key []byte) {
	if !c.start() || !c.descendTo(key) {
		return
	}
	c.valid = true
	c.Prev()
}

// start resets the cursor; false if there is nothing to walk.
func (c *Cursor) start() bool {
	c.stack, c.valid, c.err = c.stack[:0], false, c.v.usable()
	return c.err == nil && c.v.g.root.page != 0
}

// descendTo fills the stack down to the first entry ≥ key of the leaf where
// key belongs, which may be one past its end.
func (c *Cursor) descendTo(key []byte) bool {
	return c.descend(c.v.g.root, c.v.g.level, func(pg *page) int {
		if pg.kind == kindBranch {
			return pg.route(key)
		}
		i, _ := pg.search(key)
		return i
	})
}

func (c *Cursor) descend(r ref, level int, at func(*page) int) bool {
	for ; ; level-- {
		pg, err := c.v.p.load(r, level)
		if err != nil {
			c.err, c.valid = err, false
			return false
		}
		i := at(pg)
		c.stack = append(c.stack, step{page: pg, at: i})
		if level == 0 {
			return true
		}
		r = pg.child(i)
	}
}

func (c *Cursor) settle() {
	s := &c.stack[len(c.stack)-1]
	c.key = s.page.appendKey(c.key[:0], s.at)
	c.valid = true
}

// Next moves to the next key. Past the last one the cursor is not valid.
func (c *Cursor) Next() {
	if !c.valid {
		return
	}
	c.move(
		func(s *step) bool { s.at++; return s.at < s.page.count },
		func(*page) int { return 0 })
}

// Prev moves to the key before. Before the first one the cursor is not valid.
func (c *Cursor) Prev() {
	if !c.valid {
		return
	}
	c.move(
		func(s *step) bool { s.at--; return s.at >= 0 },
		func(pg *page) int { return pg.count - 1 })
}

// move steps at the lowest level where that is possible and goes down from
// there along the edge.
func (c *Cursor) move(advance func(*step) bool, edge func(*page) int) {
	if c.err = c.v.usable(); c.err != nil {
		c.valid = false
		return
	}
	top := len(c.stack) - 1
	for ; top >= 0; top-- {
		if advance(&c.stack[top]) {
			break
		}
	}
	if top < 0 {
		c.valid = false
		return
	}
	s := c.stack[top]
	below := len(c.stack) - 1 - top
	c.stack = c.stack[:top+1]
	if below > 0 && !c.descend(s.page.child(s.at), int(s.page.level)-1, edge) {
		return
	}
	c.settle()
}
