package mvcc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/pager"
)

// Salvage reads a database that is damaged and writes a new one that holds all
// that could be read.
//
//  1. Rows are gathered from the tree, the log, and leaves found by their own
//     checksums (salvagerows.go).
//  2. What rows stand for is looked for, in the blocks that they name and in others
//     (salvageblocks.go).
//  3. The history is put together: which commits there are, what they added, and on
//     which line (salvagecommits.go). Everything that follows from it is computed
//     anew: what commits removed, aggregates, users, heads, counters, content keys.
//  4. Every pod version that a commit has is read whole. One that cannot be
//     is written as lost (salvagepods.go).
//  5. The new file is made under another name, closed cleanly, verified, and
//     renamed (salvagewrite.go).
//
// Invariants:
//
//  1. The damaged file and its log are never written.
//  2. What the new database answers was committed once under that version, or it is
//     ErrCorrupt, ErrVersionGone or ErrNotFound, and the report says why. In
//     particular where the newest state of a pod or a name at a version is not known, no
//     older one is given (lost.go).
//  3. Memory holds the index of the database, some 200 bytes for a pod version, and a
//     few blocks; never its contents.

// SalvageOptions says what to salvage. FS, From and To are needed.
type SalvageOptions struct {
	FS       vfs.FS
	From, To string // To must not exist
	// Progress, if set, is called now and then with bytes done and to do.
	Progress func(done, total int64)
	Logger   *slog.Logger     // nil = silent
	Now      func() time.Time // nil = time.Now
	Rand     io.Reader        // nil = crypto/rand
}

// Loss is something that was in the damaged database and is not, or not readable,
// in the new one.
type Loss struct {
	Version Version  // that it belonged to; 0 = unknown
	Pod     pod.ID   // 0 = none, or unknown
	Names   []string // variables that the pod is the root of, in any version
	What    string
}

// String says it in a sentence.
func (l Loss) String() string {
	s := l.What
	if l.Pod != 0 {
		s += fmt.Sprintf(" (pod %d)", l.Pod)
	}
	if len(l.Names) > 0 {
		s += fmt.Sprintf(", root of %q", l.Names)
	}
	if l.Version != 0 {
		s = fmt.Sprintf("version %d: %s", l.Version, s)
	}
	return s
}

// SalvageReport says what Salvage found.
type SalvageReport struct {
	// What the new database has.
	Versions, PodVersions, SharedBodies, Names, Types, Branches, Tags uint64
	LogGroups                                                         int // read from the log

	// What was lost. Lost has at most MaxLosses entries, MoreLost counts the rest.
	LostPodVersions uint64 // known to have existed; reading them is ErrCorrupt
	LostCommits     uint64 // versions whose commit could not be read; some are built anew
	LostBodies      uint64
	LostTypes       uint64
	LostNames       uint64 // changes of names
	LostBranches    uint64
	LostSecret      bool // fingerprints made before say nothing any more
	Lost            []Loss
	MoreLost        int

	// Damage lists places of the damaged file and its log, at most MaxProblems;
	// MoreDamage counts the rest.
	Damage     []string
	MoreDamage int
}

// MaxLosses bounds SalvageReport.Lost.
const MaxLosses = 10000

// Nothing reports whether nothing was lost.
func (r *SalvageReport) Nothing() bool { return len(r.Lost) == 0 }

// salvager is one salvage.
type salvager struct {
	ctx    context.Context
	o      SalvageOptions
	scan   *pager.Scan
	report SalvageReport
	logID  uint64 // of the log; 0 if unknown
	work   int64  // of the steps that are done
	total  int64

	rows map[string][]byte // the best value of every key
	gaps []pager.ScanGap   // of the newest tree, ascending
	// counted: the counters are those of the newest state, even if they lay in a gap.
	counted bool
	blocks  salvageBlocks
	history
	contentsOf
	derived map[string][]byte // rows that are made anew
	ordered []Version         // of commits, once they are all there
}

// Salvage makes a new database at o.To from what can be read of the one at
// o.From, which it does not change. Nobody may have that open. Damage is no
// error; an error means that there is no new database: dberr.ErrNotDatabase if
// nothing of a database was found, *dberr.LockedError, dberr.ErrTooNew, fs.ErrExist
// for o.To, I/O errors of writing; or what was made does not verify, and then it
// stays under the name o.To + ".salvage". Memory grows with the number of pod versions.
func Salvage(ctx context.Context, o SalvageOptions) (SalvageReport, error) {
	if o.FS == nil || o.From == "" || o.To == "" {
		return SalvageReport{}, fmt.Errorf("%w: FS, From and To are required", dberr.ErrInvalid)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var err error
	if o.From, err = vfs.Resolve(o.FS, o.From); err != nil {
		return SalvageReport{}, err
	}
	if o.To, err = vfs.Resolve(o.FS, o.To); err != nil {
		return SalvageReport{}, err
	}
	for _, name := range []string{o.To, o.To + logSuffix, o.To + unfinishedSuffix} {
		if _, err := o.FS.Stat(name); err == nil {
			return SalvageReport{}, fmt.Errorf("%s is in the way: %w", name, fs.ErrExist)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return SalvageReport{}, err
		}
	}
	scan, err := pager.OpenScan(ctx, o.FS, o.From)
	if err != nil {
		return SalvageReport{}, err
	}
	s := &salvager{ctx: ctx, o: o, scan: scan, total: salvageSteps * scan.Size(), derived: map[string][]byte{}}
	err = s.run()
	return s.report, dberr.Join(err, scan.Close())
}

const (
	unfinishedSuffix = ".salvage" // of the new file, until it is verified
	salvageSteps     = 4          // gathering, reading, writing, verifying
)

func (s *salvager) run() error {
	for _, d := range s.scan.Damage() {
		s.damage("%s", d)
	}
	if roots := s.scan.Roots(); len(roots) > 0 {
		s.logID = binary.LittleEndian.Uint64(roots[0].DatabaseID[:8])
	}
	for _, part := range []func() error{s.gather, s.resolveBlocks, s.putTogether, s.readAll, s.write} {
		if err := part(); err != nil {
			return err
		}
		if err := s.ctx.Err(); err != nil {
			return err
		}
		s.work += s.scan.Size()
	}
	if n := s.scan.Unreadable(); n > 0 {
		s.damage("the system could not read %d bytes", n)
	}
	return nil
}

// step looks at the context and reports progress within a part.
func (s *salvager) step(done int64) error {
	if s.o.Progress != nil {
		s.o.Progress(min(s.work+min(done, s.scan.Size()), s.total), s.total)
	}
	return s.ctx.Err()
}

// damage notes a damaged place.
func (s *salvager) damage(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.o.Logger.Warn("damage", slog.String("what", text))
	if len(s.report.Damage) == MaxProblems {
		s.report.MoreDamage++
		return
	}
	s.report.Damage = append(s.report.Damage, text)
}

// lose notes what was lost.
func (s *salvager) lose(l Loss) {
	if len(s.report.Lost) == MaxLosses {
		s.report.MoreLost++
		return
	}
	if l.Pod != 0 {
		l.Names = s.namesOf[l.Pod]
	}
	s.report.Lost = append(s.report.Lost, l)
}

// syncDir makes the new file's name durable.
func (s *salvager) syncDir() error { return s.o.FS.SyncDir(path.Dir(s.o.To)) }
