package podder

// regionList is a growing list of regions in blocks, so that growing copies
// and clears nothing twice: on a first walk that was a seventh of the time.
type regionList struct {
	blocks []*[regionBlock]region
	n      int32
}

const (
	regionBlockBits = 8
	regionBlock     = 1 << regionBlockBits
)

// reserve makes room for n regions in an empty list.
func (l *regionList) reserve(n int32) {
	all := make([][regionBlock]region, (n+regionBlock-1)>>regionBlockBits)
	l.blocks = make([]*[regionBlock]region, len(all), len(all)+1)
	for i := range all {
		l.blocks[i] = &all[i]
	}
}

// at returns region i. The pointer stays good while the list lives.
func (l *regionList) at(i int32) *region {
	return &l.blocks[i>>regionBlockBits][i&(regionBlock-1)]
}

func (l *regionList) len() int32 { return l.n }

// add appends an empty region, to be filled in where it lies, and returns it
// with its number.
func (l *regionList) add() (*region, int32) {
	i := l.n
	if int(i>>regionBlockBits) == len(l.blocks) {
		l.blocks = append(l.blocks, new([regionBlock]region))
	}
	l.n++
	return l.at(i), i
}
