package podder

// blockList is a growing list in blocks, so that growing copies and clears
// nothing twice: on a first walk that was a seventh of the time.
type blockList[T any] struct {
	blocks []*[listBlock]T
	n      int32
}

// regionList is the list of the regions of a state.
type regionList = blockList[region]

const (
	listBlockBits = 8
	listBlock     = 1 << listBlockBits
)

// reserve makes room for n elements in an empty list.
func (l *blockList[T]) reserve(n int32) {
	all := make([][listBlock]T, (n+listBlock-1)>>listBlockBits)
	l.blocks = make([]*[listBlock]T, len(all), len(all)+1)
	for i := range all {
		l.blocks[i] = &all[i]
	}
}

// at returns element i. The pointer stays good while the list lives.
func (l *blockList[T]) at(i int32) *T {
	return &l.blocks[i>>listBlockBits][i&(listBlock-1)]
}

func (l *blockList[T]) len() int32 { return l.n }

// put appends x and returns its number.
func (l *blockList[T]) put(x T) int32 {
	at, i := l.add()
	*at = x
	return i
}

// add appends an empty element, to be filled in where it lies, and returns it
// with its number.
func (l *blockList[T]) add() (*T, int32) {
	i := l.n
	if int(i>>listBlockBits) == len(l.blocks) {
		l.blocks = append(l.blocks, new([listBlock]T))
	}
	l.n++
	return l.at(i), i
}
