package podder

// pass reads over a value that the program has no field for. What it refers
// to is not loaded.
func (l *loader) pass(p *loadPod, c *cursor, n *node) {
	switch n.kind {
	case nodeBasic:
		l.passBasic(p, c, n)
	case nodePointer, nodeMap:
		l.passCode(p, c, 0, 0)
	case nodeSlice:
		if x := c.uvarint(); x > 1 {
			l.passCode(p, c, x-2, c.uvarint())
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
	case nodeHanded:
		l.passHanded(p, c)
	case nodeNamed:
		l.corrupt("a name inside a value")
	case nodeEntries:
		l.corrupt("map entries inside a value")
	}
}

func (l *loader) passBasic(p *loadPod, c *cursor, n *node) {
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
		start := c.off
		x := c.uvarint()
		switch {
		case x&1 == 0:
			c.bytes(x >> 1)
		case l.capturing != nil:
			l.capturing.sharedString(p, c, start, x>>1)
		default:
			l.passCode(p, c, 0, 0)
			c.uvarint()
		}
	default:
		c.uvarint()
	}
}

// passCode reads over a reference, that of a slice with its length and what its
// capacity adds.
func (l *loader) passCode(p *loadPod, c *cursor, length, extra uint64) {
	start := c.off
	code := c.uvarint()
	if code < codeBase {
		return
	}
	tail := c.off
	if (code-codeBase)&codeInterior != 0 {
		first := len(l.steps)
		l.readInterior(c)
		l.steps = l.steps[:first]
	}
	if l.capturing != nil && !c.bad {
		l.capturing.reference(p, c, start, tail, code, length, extra)
	}
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

// maxLeast bounds what leastBytes says of arrays, and arrays of them.
const maxLeast = 1 << 30

// leastBytes returns the fewest bytes that a value is stored in.
func leastBytes(n *node) int {
	switch n.kind {
	case nodeNilOnly:
		return 0
	case nodeStruct:
		sum := 0
		for i := range n.fields {
			sum = min(maxLeast, sum+leastBytes(n.fields[i].node))
		}
		return sum
	case nodeArray:
		if n.length == 0 {
			return 0
		}
		each := uint64(leastBytes(n.elem))
		return int(min(maxLeast, each*min(n.length, maxLeast)))
	}
	return 1
}
