package mvcc

import (
	"context"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
)

// CommitToken names one attempt to commit. The error of a commit whose outcome
// is unknown (*dberr.CommitUnknownError) carries it.
type CommitToken = dberr.CommitToken

// token names the attempt to commit a group with a row.
func (s *Store) token(row *commitRow) CommitToken {
	return CommitToken{Database: s.DatabaseID(), Version: row.version, Nonce: row.nonce}
}

// Lookup says what became of a commit: its version and true if it is in the
// database, false if it is not and never will be. It is asked after
// reopening: while the store that returned the token is open, and poisoned, the
// outcome stays unknown and Lookup is ErrPoisoned for a version that it does not
// have. A token of another database is ErrInvalid; a version that retention
// removed, ErrVersionGone.
func (s *Store) Lookup(ctx context.Context, token CommitToken) (Version, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	if token.Version == 0 || token.Database != s.DatabaseID() {
		return 0, false, fmt.Errorf("%w: token %s is not of this database, %x", dberr.ErrInvalid, token, s.DatabaseID())
	}
	v, err := s.view()
	if err != nil {
		return 0, false, err
	}
	defer v.close()
	if token.Version > s.published.Load().version {
		return 0, false, s.writeError()
	}
	b, ok, err := v.fetch(commitKey(token.Version))
	switch {
	case err != nil:
		return 0, false, err
	case !ok:
		return 0, false, fmt.Errorf("%w: version %d", dberr.ErrVersionGone, token.Version)
	}
	row, err := decodeRow(token.Version, b)
	if err != nil || row.nonce != token.Nonce {
		return 0, false, err
	}
	return row.version, true, nil
}
