package mvcc

import (
	"fmt"
)

// blocks checks the blocks of the page file as it was when Verify began: that
// every row with packed contents refers to a block, that live members are
// counted right, and, with Deep, that each block can be read and its directory
// says the same as the rows.
func (w *verifier) blocks() error {
	live := map[uint64]*share{}
	err := w.tree(nil, func(key, val []byte) error {
		if !hasEnvelope(key[0]) {
			return nil
		}
		e, err := decodeEnvelope(val)
		if err != nil {
			return w.damage(fmt.Errorf("row %x: %w", key, err))
		}
		if e.how == envPacked {
			if live[e.block] == nil {
				live[e.block] = &share{}
			}
			live[e.block].add(e.length)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var given [2]uint64 // the highest even and odd numbers
	var sums blockSums
	err = w.tree([]byte{kindBlock}, func(key, val []byte) error {
		if len(key) != 9 {
			return w.damage(corrupt("block key %x", key))
		}
		number := be.Uint64(key[1:])
		row, err := decodeBlockRow(number, val)
		if err != nil {
			return w.damage(err)
		}
		sums.add(row, 1)
		var n share
		if l := live[number]; l != nil {
			n = *l
			delete(live, number)
		}
		given[number%2] = max(given[number%2], number)
		if n != (share{row.liveMembers, row.liveBytes}) || n.members == 0 {
			w.problem("block %d has %d live members of %d bytes, its row says %d of %d",
				number, n.members, n.bytes, row.liveMembers, row.liveBytes)
		}
		if !w.o.Deep {
			return nil
		}
		return w.damage(w.block(number, row))
	})
	if err == nil {
		err = w.blockNumbers(given)
	}
	if err == nil {
		err = w.blockSums(sums)
	}
	for _, number := range sortedKeys(live) {
		w.problem("block %d has %d members and does not exist", number, live[number].members)
	}
	return err
}

// blockNumbers checks that no number of a block is given out again: the row of
// the block that has it would be overwritten.
func (w *verifier) blockNumbers(given [2]uint64) error {
	p, err := newPacker(nil, w.v.pv, nil) // reads which one the next checkpoint gives
	if err != nil {
		return w.damage(err)
	}
	for i, next := range [2]uint64{p.next, w.counters.block} {
		if given[i] >= next {
			w.problem("block %d exists, and the next to be given out is %d", given[i], next)
		}
	}
	return nil
}

// blockSums compares what the tree says of all blocks together, if it does.
func (w *verifier) blockSums(counted blockSums) error {
	sums, ok, err := foundSums(w.v.pv)
	if err != nil {
		return w.damage(err)
	}
	if ok && sums != counted {
		w.problem("all blocks together are %+v, the tree says %+v", counted, sums)
	}
	return nil
}

// block reads a block, past the cache, and looks up each member's row.
func (w *verifier) block(number uint64, row blockRow) error {
	raw, _, err := readBlock(w.v.pv, nil, &w.room, number, row)
	if corruption(err) && len(w.report.Problems) > 0 {
		return nil // whoever read a member has said it
	}
	if err != nil {
		return fmt.Errorf("block %d: %w", number, err)
	}
	members, err := blockMembers(raw)
	if err != nil {
		return fmt.Errorf("block %d: %w", number, err)
	}
	if uint64(len(members)) != row.members {
		w.problem("block %d has %d members, its row says %d", number, len(members), row.members)
	}
	var found share
	for _, m := range members {
		_, ok, err := rowOf(w.v.pv, number, m)
		if err != nil {
			return err
		}
		if ok {
			found.add(m.length)
		}
	}
	if found.members != row.liveMembers {
		w.problem("block %d: %d of %d members are where their rows say, its row says %d", number, found.members, len(members), row.liveMembers)
	}
	return nil
}

// tree walks rows of the page file alone.
func (w *verifier) tree(prefix []byte, fn func(key, val []byte) error) error {
	return walkTree(w.ctx, w.v.pv, prefix, fn)
}
