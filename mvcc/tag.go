package mvcc

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
)

// Tags and deleted branches: changes of single rows that are no commits. Each
// goes through the sequencer as an upkeep group of its own (retire.go, invariant
// 3), so retention, which chooses what to retire with the token held, sees all
// of them or none. What Open needs to know of such rows it reads from the index; live and
// in replay noteRows takes it from the group.

// Tag is a name for a version. Retention keeps the version.
type Tag struct {
	Name    string
	Version Version
}

const tagValueLen = 8

func tagKey(name string) []byte { return append([]byte{kindTag}, name...) }

// tagValue is a tag row: version 8, big-endian.
func tagValue(v Version) []byte { return be.AppendUint64(nil, v) }

func decodeTag(key, val []byte) (Tag, error) {
	if len(key) < 2 || len(key) > 1+maxBranchName || len(val) != tagValueLen {
		return Tag{}, corrupt("tag row %x of %d bytes", key, len(val))
	}
	return Tag{string(key[1:]), be.Uint64(val)}, nil
}

// SetTag names a version. A name that is taken is ErrTagExists, unless it is for
// the same version.
func (s *Store) SetTag(ctx context.Context, name string, at Version) error {
	if err := checkBranchName("tag", name); err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	sn, err := s.At(ctx, at) // open until the tag keeps it
	if err != nil {
		return err
	}
	defer sn.Close()
	return s.alone(ctx, func(*view) (*group, error) {
		switch v, ok := s.tagged(name); {
		case ok && v == at:
			return nil, nil
		case ok:
			return nil, fmt.Errorf("%w: %q is version %d", dberr.ErrTagExists, name, v)
		}
		return &group{counters: s.seq.counters, puts: []keyValue{{tagKey(name), tagValue(at)}}}, nil
	})
}

// DeleteTag takes a name away; the version is then kept or not as any other.
func (s *Store) DeleteTag(ctx context.Context, name string) error {
	return s.alone(ctx, func(*view) (*group, error) {
		if _, ok := s.tagged(name); !ok {
			return nil, fmt.Errorf("%w: tag %q", dberr.ErrNotFound, name)
		}
		return &group{counters: s.seq.counters, dels: [][]byte{tagKey(name)}}, nil
	})
}

// Tags returns all tags by name.
func (s *Store) Tags(ctx context.Context) ([]Tag, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	tags := *s.tags.Load()
	var list []Tag
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, Tag{name, tags[name]})
	}
	return list, nil
}

// TagVersion returns the version that a tag names.
func (s *Store) TagVersion(ctx context.Context, name string) (Version, error) {
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	v, ok := s.tagged(name)
	if !ok {
		return 0, fmt.Errorf("%w: tag %q", dberr.ErrNotFound, name)
	}
	return v, nil
}

func (s *Store) tagged(name string) (Version, bool) {
	v, ok := (*s.tags.Load())[name]
	return v, ok
}

func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return dberr.ErrClosed
	}
	return ctx.Err()
}

// loadTags reads the table of tags.
func (s *Store) loadTags(v *view) error {
	tags := map[string]Version{}
	err := v.walk([]byte{kindTag}, func(key, val []byte) error {
		t, err := decodeTag(key, val)
		tags[t.Name] = t.Version
		return err
	})
	s.tags.Store(&tags)
	return err
}

// ownRows finds in an upkeep group what the store knows in memory: all tags
// after it, nil if it changes none, and the lines whose branches it deletes, true for those
// that it removes.
func (s *Store) ownRows(g *group) (tags map[string]Version, deleted map[*line]bool, err error) {
	change := func() map[string]Version {
		if tags == nil {
			tags = maps.Clone(*s.tags.Load())
		}
		return tags
	}
	for _, p := range g.puts {
		switch p.key[0] {
		case kindTag:
			t, err := decodeTag(p.key, p.val)
			if err != nil {
				return nil, nil, err
			}
			change()[t.Name] = t.Version
		case kindLine:
			l, err := s.deletedLine(p)
			if err != nil {
				return nil, nil, err
			}
			if deleted == nil {
				deleted = map[*line]bool{}
			}
			deleted[l] = isRemoved(p.val)
		}
	}
	for _, key := range g.dels {
		if key[0] == kindTag {
			delete(change(), string(key[1:]))
		}
	}
	return tags, deleted, nil
}

// noteRows makes known what an upkeep group changed of that.
func (s *Store) noteRows(g *group) {
	tags, deleted, err := s.ownRows(g)
	if err != nil {
		panic(fmt.Sprintf("mvcc: a group that was checked: %v", err))
	}
	if tags != nil {
		s.tags.Store(&tags)
	}
	for l, removed := range deleted {
		l.deleted.Store(true)
		if t := s.lines.Load(); removed {
			s.lines.Store(t.without(l))
		} else {
			s.lines.Store(t.with(l))
		}
	}
}

// checkTags is Verify's look at them.
func (w *verifier) checkTags() error {
	return w.walk(kindTag, func(key, val []byte) error {
		t, err := decodeTag(key, val)
		if err != nil {
			return w.damage(err)
		}
		w.report.Tags++
		if t.Version > w.counters.version || w.gone.Contains(t.Version) {
			w.problem("tag %q is for version %d, which does not exist", t.Name, t.Version)
		}
		return nil
	})
}

// settleTags keeps the tags whose version is left. A tag whose row is lost is not
// missed, and one that was deleted may come back from a stale page.
func (s *salvager) settleTags() {
	for _, k := range sortedKeys(s.rows) {
		if k[0] != kindTag {
			continue
		}
		t, err := decodeTag([]byte(k), s.rows[k])
		switch {
		case err != nil:
			s.lose(Loss{What: "a tag whose row cannot be read"})
		case t.Version != 0 && s.commits[t.Version] == nil:
			s.lose(Loss{Version: t.Version, What: fmt.Sprintf("tag %q: the version is lost", t.Name)})
		default:
			s.report.Tags++
			continue
		}
		delete(s.rows, k)
	}
}
