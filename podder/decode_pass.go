package podder

// pass reads over a value that the program has no field for. What it refers
// to is not loaded.
func (l *loader) pass(p *loadPod, c *cursor, n *node) {
	switch n.kind {
	case nodeBasic:
		l.passBasic(c, n)
	case nodePointer, nodeMap:
		l.passCode(c)
	case nodeSlice:
		if c.uvarint() > 1 {
			c.uvarint()
			l.passCode(c)
		}
	case nodeArray:
		if leastBytes(n.elem) == 0 {
			return
		}
		for i := uint64(0); i < n.length && !c.bad && l.err == nil; i++ {
			l.pass(p, c, n.elem)
		}
	case nodeStruct:
		for i := range n.fields {
			l.pass(p, c, n.fields[i].node)
		}
	case nodeInterface:
		l.passInterface(p, c)
	case nodeCodec:
		c.bytes(c.uvarint())
	case nodeEntries:
		l.corrupt("map entries inside a value")
	}
}

func (l *loader) passBasic(c *cursor, n *node) {
	switch n.basic {
	case typeBool, typeInt8, typeUint8:
		c.byte()
	case typeFloat32:
		c.bytes(4)
	case typeFloat64, typeComplex64:
		c.bytes(8)
	case typeComplex128:
		c.bytes(16)
	case typeString:
		x := c.uvarint()
		if x&1 == 0 {
			c.bytes(x >> 1)
			return
		}
		l.passCode(c)
		c.uvarint()
	default:
		c.uvarint()
	}
}

func (l *loader) passCode(c *cursor) {
	code := c.uvarint()
	if code < codeBase || (code-codeBase)&codeInterior == 0 {
		return
	}
	first := len(l.steps)
	l.readInterior(c)
	l.steps = l.steps[:first]
}

func (l *loader) passInterface(p *loadPod, c *cursor) {
	id, ok := l.typeID(c)
	if !ok || id == 0 || l.tooDeep() {
		return
	}
	st, err := l.descriptorOf(id)
	if err != nil {
		l.failAt(err)
		return
	}
	l.depth++
	l.pass(p, c, st.node)
	l.depth--
}
