package mvcc

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/poddb/poddb/pager"
)

// Blocks of a damaged file.
//
//  1. A block is believed if its magic, length and checksum fit, wherever it lies.
//     Where a row of the newest tree says that another block lies, none is looked
//     for: what is found inside a damaged block may be a page file that somebody
//     stored.
//  2. An envelope is believed if the block that it names has a member of the row's
//     key at that place. Else any block that has a member of that key and length
//     will do: contents under one key are the same in every block, unless the
//     kind of row changes; then the block with the higher number is newer.
//  3. A member whose row was lost brings its row back.
//     In a block of an extent versions have the nonce of their commit as key, and
//     numbers may be those of a transaction that never landed: so the commit
//     must be known, and of a body the content row.
//  4. Numbers and keys of blocks may come twice: a checkpoint that died gave out
//     numbers that the next one gave out again, and moving a block leaves the old
//     bytes behind. Both hold what was committed, so 2 and 3 hold whichever it is.
type salvageBlocks struct {
	room   unpacking
	places map[uint64][]pager.Place // by number, that of the row first
	cache  []*openedBlock
	cached int
	found  map[string]foundMember // by key, for rows that are lost or cannot be read
}

// foundMember is a member of a block found by scanning.
type foundMember struct {
	block uint64
	at    memberAt
}

// openedBlock is a block with its directory.
type openedBlock struct {
	place   pager.Place
	number  uint64
	raw     []byte
	members map[string]memberAt
}

// maxOpened bounds the raw bytes of blocks that are kept.
const maxOpened = 64 << 20

// readPlace opens a block; nil if it is damaged or another one.
func (s *salvager) readPlace(pl pager.Place) *openedBlock {
	for _, b := range s.blocks.cache {
		if b.place == pl {
			return b
		}
	}
	stored, ok := s.scan.Bytes(pl.Off, pl.Len)
	if !ok {
		return nil
	}
	number, raw, err := decodeBlock(stored, &s.blocks.room)
	if err != nil || pl.CRC != 0 && pl.CRC != crc32.Checksum(stored, castagnoli) {
		return nil
	}
	list, err := blockMembers(raw)
	if err != nil {
		return nil
	}
	b := &openedBlock{place: pl, number: number, raw: raw, members: make(map[string]memberAt, len(list))}
	for _, m := range list {
		b.members[string(m.key)] = m
	}
	c := &s.blocks
	for len(c.cache) > 0 && c.cached+len(raw) > maxOpened {
		c.cached -= len(c.cache[0].raw)
		c.cache = slices.Delete(c.cache, 0, 1)
	}
	c.cache = append(c.cache, b)
	c.cached += len(raw)
	return b
}

// member returns the contents that an envelope names, nil if they cannot be read.
func (s *salvager) member(key []byte, e envelope) []byte {
	for _, pl := range s.blocks.places[e.block] {
		b := s.readPlace(pl)
		if b == nil || b.number != e.block {
			continue
		}
		if b.has(key, e) {
			return b.raw[e.off : e.off+e.length : e.off+e.length]
		}
	}
	return nil
}

// has reports whether an envelope names a member of the row's key. In a block of
// an extent the key of a version has a nonce in place of the number (stream.go).
func (b *openedBlock) has(key []byte, e envelope) bool {
	if m, ok := b.members[string(key)]; ok && m.off == e.off && m.length == e.length {
		return true
	}
	if b.number%2 == 0 || key[0] != kindVersion {
		return false
	}
	pod := string(key[:len(key)-8])
	for k, m := range b.members {
		if m.off == e.off && m.length == e.length && strings.HasPrefix(k, pod) && len(k) == versionKeyLen {
			return true
		}
	}
	return false
}

// contents returns what a row stands for; false if it cannot be read.
func (s *salvager) contents(key, env []byte) ([]byte, bool) {
	e, err := decodeEnvelope(env)
	switch {
	case err != nil || e.how == envLost || e.how == envTombstone:
		return nil, false
	case e.how == envInline:
		return e.data, true
	}
	b := s.member(key, e)
	return b, b != nil
}

// rowPlaces takes the block rows out of the rows.
func (s *salvager) rowPlaces() {
	s.blocks.places = map[uint64][]pager.Place{}
	for key, val := range s.rows {
		if key[0] != kindBlock || len(key) != 9 {
			continue
		}
		number := be.Uint64([]byte(key[1:]))
		if row, err := decodeBlockRow(number, val); err == nil {
			s.blocks.places[number] = []pager.Place{row.place}
		}
	}
}

// resolveBlocks makes every packed row name contents that can be read, or marks it
// as lost, and brings rows back that only blocks know.
func (s *salvager) resolveBlocks() error {
	s.rowPlaces()
	wanted, err := s.unreadable()
	if err != nil || len(wanted)+len(s.gaps) == 0 {
		return err
	}
	if err := s.findBlocks(wanted); err != nil {
		return err
	}
	for key := range wanted {
		m, ok := s.blocks.found[key]
		e, err := decodeEnvelope(s.rows[key])
		if !ok || err == nil && e.length != m.at.length {
			s.rows[key] = []byte{envLost}
			continue
		}
		s.rows[key] = packedIn(m.block, m.at)
	}
	for key, m := range s.blocks.found { // commits change: a newer block has the newer row
		e, err := decodeEnvelope(s.rows[key])
		if (key[0] == kindCommit || key[0] == kindGone) && err == nil && e.how == envPacked && e.block < m.block && s.inGap([]byte(key)) {
			s.rows[key] = packedIn(m.block, m.at)
		}
		if _, have := s.rows[key]; !have && !(m.block%2 != 0 && key[0] == kindVersion) {
			s.rows[key] = packedIn(m.block, m.at)
		}
	}
	return nil
}

// unreadable returns the keys of rows whose contents cannot be read. Each block is
// read once.
func (s *salvager) unreadable() (map[string]bool, error) {
	users := map[uint64][]string{}
	wanted := map[string]bool{}
	for key, val := range s.rows {
		if !hasEnvelope(key[0]) {
			continue
		}
		switch e, err := decodeEnvelope(val); {
		case err != nil:
			wanted[key] = true
		case e.how == envPacked:
			users[e.block] = append(users[e.block], key)
		}
	}
	done := int64(0)
	for _, number := range sortedKeys(users) {
		if err := s.step(done); err != nil {
			return nil, err
		}
		lost := 0
		for _, key := range users[number] {
			e, _ := decodeEnvelope(s.rows[key])
			if s.member([]byte(key), e) == nil {
				wanted[key] = true
				lost++
			}
		}
		for _, pl := range s.blocks.places[number] {
			done += int64(pl.Len)
			if lost > 0 {
				s.damage("block %d of %d bytes at byte %d cannot be read", number, pl.Len, pl.Off)
			}
		}
	}
	return wanted, nil
}

// findBlocks scans the file.
func (s *salvager) findBlocks(wanted map[string]bool) error {
	s.blocks.found = map[string]foundMember{}
	taken := s.takenPlaces()
	budget := 8 * s.scan.Size() // bytes read for blocks that are none
	return s.scan.Find(s.ctx, []byte(blockMagic), func(off int64) (int64, error) {
		if err := s.step(off); err != nil {
			return 0, err
		}
		head, ok := s.scan.Bytes(uint64(off), blockHeader)
		if !ok {
			return off + 1, nil
		}
		pl := pager.Place{Off: uint64(off), Len: blockHeader}
		n := binary.LittleEndian.Uint32(head[8:])
		if n > maxBlockRaw || int64(n) > s.scan.Size()-off-blockHeader || taken.inside(pl) || budget < 0 {
			return off + 1, nil
		}
		pl.Len += n
		b := s.readPlace(pl)
		if b == nil {
			budget -= int64(n)
			return off + 1, nil
		}
		s.note(b, wanted)
		return off + int64(pl.Len), nil
	})
}

// note remembers what is of use in a block that was found.
func (s *salvager) note(b *openedBlock, wanted map[string]bool) {
	of := s.blocks.places[b.number]
	if !slices.ContainsFunc(of, func(pl pager.Place) bool { return pl.Off == b.place.Off }) {
		s.blocks.places[b.number] = append(of, b.place)
	}
	odd := b.number%2 != 0
	for key, m := range b.members {
		switch {
		case odd && key[0] == kindVersion: // found by the nonce, once the commit is known
		case odd && !s.leadsTo(key, b, m):
			continue
		case !hasEnvelope(key[0]) || !wanted[key] && !s.inGap([]byte(key)):
			continue
		}
		if old, ok := s.blocks.found[key]; !ok || old.block < b.number {
			s.blocks.found[key] = foundMember{b.number, m}
		}
	}
}

// leadsTo reports whether the content row of a shared body leads to its number. In
// an extent there may be bodies of a transaction that never landed, whose
// numbers were given out again.
func (s *salvager) leadsTo(key string, b *openedBlock, m memberAt) bool {
	if key[0] != kindShared || len(key) != 9 {
		return false
	}
	f, err := decodeFrame(b.raw[m.off : m.off+m.length])
	return err == nil && string(s.rows[string(hashKey(kindContent, blake(f.form)))]) == key[1:]
}

// byNonce finds the contents of a version in an extent of its commit.
func (s *salvager) byNonce(row *commitRow, id pid) ([]byte, bool) {
	m, ok := s.blocks.found[string(versionKey(nil, id, row.line, row.nonce))]
	if !ok || m.block%2 == 0 {
		return nil, false
	}
	return packedIn(m.block, m.at), true
}

// takenPlaces are where rows of the newest tree say that blocks lie, ascending.
type takenPlaces []pager.Place

func (s *salvager) takenPlaces() takenPlaces {
	var t takenPlaces
	for number, of := range s.blocks.places {
		if !s.inGap(blockKey(number)) {
			t = append(t, of[0])
		}
	}
	slices.SortFunc(t, func(a, b pager.Place) int {
		return bytes.Compare(be.AppendUint64(nil, a.Off), be.AppendUint64(nil, b.Off))
	})
	return t
}

// inside reports whether a place begins inside of one of them.
func (t takenPlaces) inside(pl pager.Place) bool {
	i, found := slices.BinarySearchFunc(t, pl.Off, func(x pager.Place, off uint64) int {
		switch {
		case x.Off < off:
			return -1
		case x.Off > off:
			return 1
		}
		return 0
	})
	return !found && i > 0 && pl.Off-t[i-1].Off < uint64(t[i-1].Len)
}
