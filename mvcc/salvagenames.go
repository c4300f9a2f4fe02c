package mvcc

import (
	"bytes"
	"fmt"
	"slices"
)

// settleNames drops changes of names that no kept commit shows, and counts the
// others.
func (s *salvager) settleNames() {
	type nameLine struct {
		name string
		line uint32
	}
	rows := map[nameLine][]Version{} // ascending
	at := map[nameLine]map[Version]nameRow{}
	for _, version := range sortedKeys(s.names) {
		for _, r := range s.names[version] {
			k := nameLine{r.name, r.line}
			if at[k] == nil {
				at[k] = map[Version]nameRow{}
			}
			rows[k], at[k][version] = append(rows[k], version), r
		}
	}
	kept := map[uint32][]Version{}
	for _, v := range sortedKeys(s.commits) {
		kept[s.commits[v].line] = append(kept[s.commits[v].line], v)
	}
	count := map[Version]uint64{} // by kept commit: of the run before it, then itself
	own := map[Version]uint64{}
	for k, versions := range rows {
		for i, v := range versions {
			j, _ := slices.BinarySearch(kept[k.line], v)
			if j == len(kept[k.line]) || i+1 < len(versions) && versions[i+1] <= kept[k.line][j] {
				delete(s.rows, at[k][v].key)
				continue
			}
			if first := kept[k.line][j]; first == v {
				own[v]++
			} else {
				count[first]++
			}
			s.report.Names++
		}
	}
	for v, row := range s.commits {
		s.settleNamesOf(row, own[v], count[v])
	}
}

// settleNamesOf puts the counts of a row right.
func (s *salvager) settleNamesOf(row *commitRow, own, run uint64) {
	if row.names > own {
		s.report.LostNames += row.names - own
		s.unknown.versions.Add(row.version)
		s.lose(Loss{Version: row.version, What: fmt.Sprintf("%d of %d changes of names", row.names-own, row.names)})
	}
	row.names = own
	if run > 0 {
		s.fold(row)
	}
	if row.fold == nil {
		return
	}
	// Some were reclaimed, and stale pages brought some back: nobody can count what
	// is lost.
	if row.fold.names+run > 0 && s.mayLack(kindName) {
		s.unknown.versions.Add(row.version)
	}
	row.fold.names = run
}

// hide notes where rows may be missing that nothing else tells.
func (s *salvager) hide() {
	end := s.counters.pod
	for _, g := range s.gaps {
		for _, k := range []struct {
			low, high []byte
			some      *Set
		}{
			{[]byte{kindName}, []byte{kindName + 1}, s.unknown.versions},
			{[]byte{kindVersion}, be.AppendUint64([]byte{kindVersion}, end), s.unknown.numbers},
		} {
			r := keyRange{g.Lower, g.Upper}
			if bytes.Compare(r.low, k.low) < 0 {
				r.low = k.low
			}
			if r.high == nil || bytes.Compare(r.high, k.high) > 0 {
				r.high = k.high
			}
			if bytes.Compare(r.low, r.high) < 0 && !k.some.empty() {
				s.unknown.ranges = append(s.unknown.ranges, r)
			}
		}
	}
	s.unknown.ranges = joined(s.unknown.ranges)
}

// joined returns the same ranges, ascending and apart.
func joined(ranges []keyRange) []keyRange {
	slices.SortFunc(ranges, func(a, b keyRange) int { return bytes.Compare(a.low, b.low) })
	apart := ranges[:0]
	for _, r := range ranges {
		if n := len(apart); n > 0 && bytes.Compare(r.low, apart[n-1].high) <= 0 {
			if bytes.Compare(r.high, apart[n-1].high) > 0 {
				apart[n-1].high = r.high
			}
			continue
		}
		apart = append(apart, r)
	}
	return apart
}
