package mvcc

import "context"

// Follower is somebody who has to know what collects on a branch took away since a
// version, as WrittenSince says it. Folded into a commit of others, what a collect wrote
// would look like theirs: so retention keeps the commits of collects behind that version,
// and those just before them, until the follower has passed them. Its methods are safe
// for concurrent use.
type Follower struct {
	r    *registry
	line uint32
	from Version // guarded by the registry's lock
}

// FollowCollects returns a follower that knows the branch up to its head.
func (s *Store) FollowCollects(ctx context.Context, branch string) (*Follower, error) {
	l, err := s.lineNow(ctx, branch)
	if err != nil {
		return nil, err
	}
	s.open.mu.Lock()
	defer s.open.mu.Unlock()
	f := &Follower{r: &s.open, line: l.id, from: l.head.Load().version}
	if s.open.followers == nil {
		s.open.followers = map[*Follower]struct{}{}
	}
	s.open.followers[f] = struct{}{}
	return f, nil
}

// Version returns the version up to which the follower knows.
func (f *Follower) Version() Version {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	return f.from
}

// Pass says that the follower knows up to a version.
func (f *Follower) Pass(v Version) {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	f.from = v
}

// Close ends it.
func (f *Follower) Close() {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	delete(f.r.followers, f)
}

// following returns the least version up to which all followers of a line know,
// maxVersion if there are none. The lock is held.
func (r *registry) following(line uint32) Version {
	least := maxVersion
	for f := range r.followers {
		if f.line == line {
			least = min(least, f.from)
		}
	}
	return least
}

// maxVersion is behind every version.
const maxVersion = ^Version(0)

// apart reports whether commit i is of a collect behind a version, or just before one.
func (r *retirement) apart(i int, after Version) bool {
	for _, c := range r.commits[i:min(i+2, len(r.commits))] {
		if c.hidden && c.version > after {
			return true
		}
	}
	return false
}
