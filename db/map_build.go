package db

import (
	"iter"
	"slices"
)

// MapOf returns a Map of the pairs of a sequence, in any order; of pairs with one key
// the last counts. It needs memory for all of them, and makes full chunks, which
// transactions that add one entry at a time do not. Keys without an order are
// ErrInvalid.
func MapOf[K comparable, V any](seq iter.Seq2[K, V]) (*Map[K, V], error) {
	order, err := orderOf[K]()
	if err != nil {
		return nil, err
	}
	var entries []MapEntry[K, V]
	for k, v := range seq {
		entries = append(entries, MapEntry[K, V]{k, v})
	}
	compare := func(a, b MapEntry[K, V]) int { return order(&a.Key, &b.Key) }
	if !slices.IsSortedFunc(entries, compare) {
		slices.SortStableFunc(entries, compare)
	}
	n := 0
	for i := range entries {
		if i+1 == len(entries) || compare(entries[i], entries[i+1]) != 0 {
			entries[n] = entries[i]
			n++
		}
	}
	clear(entries[n:])
	all := &mapNode[K, V]{Entries: entries[:n]}
	for all.weighAgain(); all.full(); all.weighAgain() {
		all = &mapNode[K, V]{Children: all.pieces()}
	}
	root := new(mapNode[K, V])
	root.take(all)
	return &Map[K, V]{root: NewRef(root)}, nil
}

// pieces cuts a node into nodes that are not full.
func (n *mapNode[K, V]) pieces() (list []mapChild[K, V]) {
	for start, end := 0, n.size(); start < end; {
		at := n.pieceEnd(start)
		piece := &mapNode[K, V]{}
		if len(n.Children) > 0 {
			piece.Children = slices.Clone(n.Children[start:at])
		} else {
			piece.Entries = slices.Clone(n.Entries[start:at])
		}
		list = append(list, mapChild[K, V]{Low: *n.key(start), Node: NewRef(piece)})
		start = at
	}
	return list
}

// pieceEnd returns the end of the piece that begins at part start: where, in the
// second half of its room, the next one begins with the key of the least hash.
func (n *mapNode[K, V]) pieceEnd(start int) int {
	fan, end := 1, n.size()
	if len(n.Children) > 0 {
		fan = mapNodeFan
	}
	at, least, weight := 0, ^uint64(0), 0
	for i := start; i < end; i++ {
		part, count := n.part(i), i-start
		if count >= fan && (weight+part > mapNodeBytes || count >= mapNodeEntries) {
			if at == 0 {
				at = i
			}
			return at
		}
		if count >= fan && (weight >= mapNodeBytes/2 || count >= mapNodeEntries/2) {
			if h := hashKey(n.key(i)); h < least {
				at, least = i, h
			}
		}
		weight += part
	}
	return end
}
