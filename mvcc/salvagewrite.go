package mvcc

import (
	cryptorand "crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/pager"
)

// The new file is one batch of the pager, in key order, as a checkpoint would
// write it. It has a name of its own until it is closed cleanly and verified; a
// crash before leaves nothing under the name that was asked for.

// write is step 5.
func (s *salvager) write() error {
	if err := s.derive(); err != nil {
		return err
	}
	name := s.o.To + unfinishedSuffix
	if err := s.writeFile(name); err != nil {
		_ = s.o.FS.Remove(name) // the error says why
		return err
	}
	s.work += s.scan.Size()
	if err := s.verify(name); err != nil {
		return fmt.Errorf("%s is not used: %w", name, err) // but stays: much of it may be of use
	}
	if err := s.o.FS.Rename(name, s.o.To); err != nil {
		return err
	}
	return s.syncDir()
}

// derive makes the rows that follow from others.
func (s *salvager) derive() error {
	for k := range s.rows {
		switch k[0] {
		case kindVersion, kindName, kindShared, kindType, kindTag:
		case kindSingle:
			if k[1:] != singleSecret {
				delete(s.rows, k)
			}
		default:
			delete(s.rows, k)
		}
	}
	for no, n := range s.users {
		if n > 1 {
			s.derived[string(recordKey(kindUsers, no))] = binary.AppendUvarint(nil, n)
		}
	}
	for _, row := range s.commits {
		s.derived[string(commitKey(row.version))] = inline(row.append(nil))
		row.chunks(func(i int, b []byte) { s.derived[string(chunkKey(row.version, i))] = inline(b) })
	}
	for _, l := range s.lines {
		s.derived[string(lineKey(l.id))] = lineValue(l)
		s.derived[string(l.branchKey())] = branchValue(l.id, l.head.Load().version)
		s.aggregatesOf(l)
	}
	for id := range s.removed {
		s.derived[string(lineKey(id))] = []byte{lineFormatRemoved}
	}
	s.deriveGone()
	if len(s.unknown.ranges) > 0 {
		s.derived[string([]byte{kindLost})] = inline(s.unknown.append(nil))
	}
	if err := s.deriveSecret(); err != nil {
		return err
	}
	c := &s.counters
	c.bytes, c.gone = 0, 0
	for _, row := range s.commits {
		c.bytes, c.gone = c.bytes+row.bytes, c.gone+row.goneByte
	}
	s.report.Versions, s.report.Branches = uint64(len(s.commits)), uint64(len(s.lines))
	s.report.PodVersions = s.claimed.Len()
	c.freed = c.number - s.report.PodVersions
	s.derived[string(singleKey(singleCounters))] = c.append(nil)
	return nil
}

// deriveGone makes the set of retired versions: all that have no row.
func (s *salvager) deriveGone() {
	gone := &Set{}
	gone.AddRange(1, s.counters.version)
	kept := &Set{}
	for v := range s.commits {
		kept.Add(v)
	}
	gone.subtract(kept)
	for low := uint64(0); low <= gone.max() && gone.max() != 0; low += goneChunk {
		part := &Set{}
		part.AddRange(low, low+goneChunk-1)
		part = part.minus(part.minus(gone))
		if !part.empty() {
			s.derived[string(goneKey(low/goneChunk))] = inline(appendSet(nil, part))
		}
	}
}

// deriveSecret keeps the secret, or makes a new one.
func (s *salvager) deriveSecret() error {
	key := string(singleKey(singleSecret))
	if len(s.rows[key]) == 32 {
		return nil
	}
	secret := make([]byte, 32)
	source := s.o.Rand
	if source == nil {
		source = cryptorand.Reader
	}
	if _, err := io.ReadFull(source, secret); err != nil {
		return fmt.Errorf("random source: %w", err)
	}
	s.rows[key] = secret
	s.report.LostSecret = true
	s.lose(Loss{What: "the secret of fingerprints: a new one was made, and the next save looks at everything again"})
	return nil
}

// aggregatesOf computes the aggregates of a line.
func (s *salvager) aggregatesOf(l *line) {
	rows := s.onLine(l.id)
	for level := 1; level < len(levelLen); level++ {
		n := levelLen[level]
		for i := 0; i < len(rows); {
			at := rows[i].pos / n
			sum := newNet()
			for ; i < len(rows) && rows[i].pos/n == at; i++ {
				sum.commit(rows[i])
			}
			if (at+1)*n <= l.head.Load().commits {
				s.derived[string(aggregateKey(l.id, byte(level), at))] = inline(sum.append(nil))
			}
		}
	}
}

// writeFile makes the database file.
func (s *salvager) writeFile(name string) error {
	salts, err := newSalts(s.randSource())
	if err != nil {
		return err
	}
	pg, err := pager.Open(s.ctx, pager.Options{FS: s.o.FS, Path: name, PageSize: s.scan.PageSize(), Rand: salts.next, Now: s.o.Now})
	if err != nil {
		return err
	}
	if err := s.fillFile(pg); err != nil {
		return dberr.Join(err, pg.Close(false))
	}
	return pg.Close(true)
}

func (s *salvager) randSource() io.Reader {
	if s.o.Rand != nil {
		return s.o.Rand
	}
	return cryptorand.Reader
}

func (s *salvager) fillFile(pg *pager.Pager) error {
	b, err := pg.Begin()
	if err != nil {
		return err
	}
	defer b.Abort()
	page := pg.View()
	defer page.Close()
	p, err := newPacker(b, page, newOverlay())
	if err != nil {
		return err
	}
	keys := sortedKeys(s.derived)
	for k := range s.rows {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		if i%256 == 0 {
			if err := s.step(int64(float64(i) / float64(len(keys)) * float64(s.scan.Size()))); err != nil {
				return err
			}
		}
		val, err := s.valueOf(k)
		if err == nil {
			err = p.row([]byte(k), val, 0)
		}
		if err != nil {
			return err
		}
	}
	if err := p.finish(); err != nil {
		return err
	}
	return b.Commit(s.ctx, pg.State().LogPos, true)
}

// valueOf returns the value of a row with its contents inline.
func (s *salvager) valueOf(k string) ([]byte, error) {
	if val, ok := s.derived[k]; ok {
		return val, nil
	}
	val := s.rows[k]
	if !hasEnvelope(k[0]) || val[0] != envPacked {
		return val, nil
	}
	b, ok := s.contents([]byte(k), val)
	if !ok { // it was read before: the medium fails more and more
		return nil, corrupt("contents of row %x can be read no longer", k)
	}
	return inline(b), nil
}

// verify opens the new file and checks all of it.
func (s *salvager) verify(name string) error {
	st, err := Open(s.ctx, Options{FS: s.o.FS, Path: name, ReadOnly: true, Now: s.o.Now, Rand: s.o.Rand, Logger: s.o.Logger})
	if err != nil {
		return fmt.Errorf("opening what was salvaged: %w", err)
	}
	rep, err := st.Verify(s.ctx, VerifyOptions{Deep: true, Progress: func(done, total uint64) {
		_ = s.step(int64(float64(done) / float64(total+1) * float64(s.scan.Size()))) // Verify looks at the context itself
	}})
	err = dberr.Join(err, st.Close())
	if err == nil && len(rep.Problems) > 0 {
		s.o.Logger.Error("salvaged database has problems", slog.Any("problems", rep.Problems))
		shown := rep.Problems[:min(len(rep.Problems), 5)]
		err = corrupt("what was salvaged has %d problems: %s", len(rep.Problems)+rep.More, strings.Join(shown, "; "))
	}
	return err
}
