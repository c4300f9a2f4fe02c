package podder

// blockList is a growing list in blocks, so that growing copies and clears
// nothing twice: on a first walk that was a seventh of the time.
type blockList[T any] struct {
	blocks []*[listBlock]T
	last   *[listBlock]T // the block of element n-1, nil if that is none
	n      int32
	memory *ownMemory // nil: the heap
	// whole says that elements have no pointers and come by put alone: blocks are not cleared, and so
	// not fetched, before. Where pointers are written the collector looks at what was there.
	whole bool
}

// regionList is the list of the regions of a state.
type regionList = blockList[region]

const (
	listBlockBits = 8
	listBlock     = 1 << listBlockBits
)

// at returns element i. The pointer stays good while the list lives.
func (l *blockList[T]) at(i int32) *T {
	return &l.blocks[i>>listBlockBits][i&(listBlock-1)]
}

func (l *blockList[T]) len() int32 { return l.n }

// put appends x and returns its number.
func (l *blockList[T]) put(x T) int32 {
	i := l.n
	if i&(listBlock-1) == 0 {
		l.turn()
	}
	l.n = i + 1
	l.last[i&(listBlock-1)] = x
	return i
}

// add appends an empty element, to be filled in where it lies, and returns it
// with its number.
func (l *blockList[T]) add() (*T, int32) {
	i := l.n
	if i&(listBlock-1) == 0 {
		l.turn()
	}
	l.n = i + 1
	return &l.last[i&(listBlock-1)], i
}

// turn goes on to the block of the next element.
func (l *blockList[T]) turn() {
	k := int(l.n >> listBlockBits)
	if k == len(l.blocks) {
		l.blocks = append(l.blocks, ownBlock[T](l.memory, !l.whole))
	}
	l.last = l.blocks[k]
}
